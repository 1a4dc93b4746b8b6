"""An exported student in onnxruntime: two graphs, and a greedy search over them in numpy.

    whisper = OnnxWhisper("shipped-onnx")
    whisper.transcribe([samples])                        # ["the words"], on the context that the model wants

    encoder.onnx   features (B, M, T) -> keys and values (B, H, T/2, d/H) of every decoder layer's cross-attention
    decoder.onnx   tokens (B, n), keys and values so far (B, H, P, d/H), those of the encoder
                   -> logits of the next token (B, V), keys and values (B, H, P + n, d/H)

``B`` utterances, ``M`` mel bands, ``T`` frames, ``H`` heads of width ``d/H``, ``P`` tokens before, ``V`` vocabulary: B, T, n and
P may be anything. The encoder runs once, the decoder once a token.
"""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from askd.errors import AskdError, reason
from askd.files import read_json


def names(part: str, layers: int) -> list[str]:
    """Names of the keys and values of all layers: ``cross`` (of the encoder), ``past`` and ``present`` (of the decoder).

    >>> names("past", 2)
    ['past.0.key', 'past.0.value', 'past.1.key', 'past.1.value']
    """
    return [f"{part}.{layer}.{kind}" for layer in range(layers) for kind in ("key", "value")]


class OnnxWhisper:
    """The two graphs of a folder written by ``askd export --to onnx``.

    Args:
        folder: with encoder.onnx, decoder.onnx, config.json, generation_config.json and tokenizer.json.
        threads: of onnxruntime; 0: one a core.

    Raises:
        AskdError: a file is missing or damaged.
    """

    def __init__(self, folder: Path | str, threads: int = 0):
        import onnxruntime
        from tokenizers import Tokenizer

        folder, options = Path(folder), onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        try:
            self.config, self.generation_config = (
                SimpleNamespace(**read_json(folder / name)) for name in ("config.json", "generation_config.json")
            )
            self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
            self.encoder, self.decoder = (
                onnxruntime.InferenceSession(str(folder / name), options, providers=["CPUExecutionProvider"])
                for name in ("encoder.onnx", "decoder.onnx")
            )
        except Exception as error:  # of packages that are not ours: their classes are not promised
            raise AskdError(f"{folder} is no whole ONNX export ({reason(error)}); make it again: "
                            "askd export RUN --to onnx --out FOLDER") from error

    def greedy(self, features: np.ndarray, max_new_tokens: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Greedy search, the tokens of `askd.decoding.greedy`.

        Args:
            features: (B, M, T) log-mel, float32.
            max_new_tokens: limit of new tokens; None: that of `askd.decoding`.

        Returns:
            new tokens (B, n), with the end token from an utterance's end on; their log-probabilities (B, n), in nats.
        """
        from scipy.special import logsumexp

        from askd.decoding import MAX_NEW_TOKENS, penalties, prompt_ids

        cross = self.encoder.run(None, {"features": features})
        heads, width = cross[0].shape[1], cross[0].shape[3]
        past = [np.zeros((len(features), heads, 0, width), np.float32)] * len(cross)
        inputs = ["tokens", *(name for part in ("past", "cross") for name in names(part, len(cross) // 2))]
        end, barred = self.generation_config.eos_token_id, [penalty.numpy() for penalty in penalties(self)]  # (V,) each
        tokens = np.array([prompt_ids(self)] * len(features))  # (B, P)
        running = np.ones(len(features), bool)
        out_tokens, out_log_probs = [], []
        for position in range(max_new_tokens or MAX_NEW_TOKENS):
            logits, *past = self.decoder.run(None, dict(zip(inputs, (tokens, *past, *cross), strict=True)))  # (B, V)
            best = (logits + barred[min(position, 1)]).argmax(-1)  # (B,)
            log_prob = np.take_along_axis(logits, best[:, None], 1)[:, 0] - logsumexp(logits, -1)  # (B,)
            out_tokens.append(np.where(running, best, end))
            out_log_probs.append(np.where(running, log_prob, 0.0))
            running = running & (best != end)
            if not running.any():
                break
            tokens = out_tokens[-1][:, None]
        return np.stack(out_tokens, 1), np.stack(out_log_probs, 1)

    def transcribe(self, samples: Sequence[np.ndarray], max_new_tokens: int | None = None) -> list[str]:
        """Clips of at most 30 s, one after the other.

        Args:
            samples: arrays (n,), float32 at 16 kHz.
            max_new_tokens: limit of new tokens.
        """
        from askd.decoding import context_frames, in_context
        from askd.features import log_mel

        texts = []
        for clip in samples:
            features = in_context([log_mel(clip, self.config.num_mel_bins)], context_frames(self)).numpy()  # (1, M, T)
            tokens = self.greedy(features, max_new_tokens)[0][0]
            texts.append(self.tokenizer.decode(tokens.tolist(), skip_special_tokens=True).strip())
        return texts
