"""Engines that run a Whisper, behind one interface: clips in, tokens out, with the time of each part.

    engine = make_engine("ct2", load_teacher("tiny.en"), "teacher", scratch="conversions")
    heard = engine.transcribe([samples])                # until the end token
    heard = engine.transcribe([samples], tokens=12)     # 12 tokens exactly: equal work
    engine.text(heard.tokens[0]), heard.encoder_s, heard.total_s

    transformers    our own loop, `askd.decoding.greedy`
    generate        transformers' `model.generate`, eager
    compiled        the same with a static cache and torch.compile
    ct2             CTranslate2, int8
    faster-whisper  CTranslate2 int8 behind faster-whisper's own door, as people use it: 30 s whatever the model

All decode greedily, without timestamps, and take sound to tokens: features count. A stock Whisper hears 30 s, our students the
length of the clip (but in faster-whisper). CTranslate2 runs on the CPU with as many threads as torch.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from askd.audio import MAX_AUDIO_S, SAMPLING_RATE_HZ
from askd.decoding import MAX_NEW_TOKENS, context_frames, greedy, in_context, prompt_ids
from askd.errors import AskdError, pick
from askd.features import FULL_CONTEXT, encode, log_mels
from askd.teacher import Recogniser

MOST_TOKENS = 224  # CTranslate2 writes at most half of Whisper's 448 positions
STEP_FRAMES = 500  # compiled: contexts are rounded up to 5 s, since each shape is compiled for itself. Ours
COMPUTE = "int8"  # of CTranslate2: the fast one on CPUs, as `askd.export` writes it


class Heard(NamedTuple):
    """One pass over a batch."""

    tokens: list[list[int]]  # of each clip, without prompt; without end too, unless their number was fixed
    steps: int  # decoder steps, as many as the longest clip's tokens and its end
    features_s: float
    encoder_s: float
    total_s: float  # features, encoder and decoder


class Engine(ABC):
    """A model in an engine.

    Args:
        recogniser: model and processor; the processor may be None as long as nobody asks for `text`.
        of: how the model is called in tables.
    """

    name = ""

    def __init__(self, recogniser: Recogniser, of: str = "model"):
        self.model, self.processor = recogniser
        self.of = of
        self.end = self.model.generation_config.eos_token_id
        self.frames = context_frames(self.model)

    @property
    def weights_mb(self) -> float:
        """Megabytes of the weights, in memory as in their file."""
        return sum({p.data_ptr(): p.nbytes for p in self.model.parameters()}.values()) / 1e6

    def text(self, tokens: Sequence[int]) -> str:
        """The words of one clip's tokens."""
        return self.processor.tokenizer.decode(tokens, skip_special_tokens=True).strip()

    def transcribe(self, samples: Sequence[np.ndarray], tokens: int | None = None) -> Heard:
        """Transcribe clips as one batch.

        Args:
            samples: arrays (n,), float32 at 16 kHz, longer than nothing and at most 30 s.
            tokens: so many for each clip, whatever the model would write; None decodes until the end token.

        Raises:
            AskdError: no clips, a clip of another length, or a number of tokens that not all engines can write.
        """
        check_batch(samples, tokens)
        with torch.inference_mode():
            start = self._now()
            features = self.features(samples)
            featured = self._now()
            encoded = self.encode(features)
            middle = self._now()
            found = self.decode(encoded, tokens)
            end = self._now()
        return self._heard(found, tokens, featured - start, middle - featured, end - start)

    def _heard(self, found: list[list[int]], tokens: int | None, features_s: float, encoder_s: float, total_s: float) -> Heard:
        if tokens is None:
            found = [ids[: ids.index(self.end)] if self.end in ids else ids for ids in found]
        steps = tokens or min(MAX_NEW_TOKENS, 1 + max(map(len, found)))
        return Heard(found, steps, features_s, encoder_s, total_s)

    def _now(self) -> float:
        if self.model.device.type == "cuda":
            torch.cuda.synchronize(self.model.device)
        return time.perf_counter()

    def features(self, samples: Sequence[np.ndarray]):
        """Log-mel (B, M, T), T the context of the model."""
        features = in_context(log_mels(samples, self.model.config.num_mel_bins), self.frames)
        return features.to(self.model.device, self.model.dtype)

    def encode(self, features):
        """The encoder's output for what `features` gave."""
        return encode(self.model, features)  # (B, T/2, d)

    @abstractmethod
    def decode(self, encoded, tokens: int | None) -> list[list[int]]:
        """New tokens of each clip from what `encode` gave, their end among them or not."""


class Transformers(Engine):
    """Our greedy loop over transformers' modules."""

    name = "transformers"

    def decode(self, encoded, tokens):
        out, _ = greedy(self.model, encoded, tokens or MAX_NEW_TOKENS, fixed_tokens=tokens is not None, encoded=encoded)
        return out.tolist()


class Generate(Engine):
    """transformers' own search. Its forward insists on 30 s, so that it gets the encoder's output of a shorter context."""

    name = "generate"
    options: dict = {}  # noqa: RUF012

    def decode(self, encoded, tokens):
        from transformers.modeling_outputs import BaseModelOutput

        config = self.model.generation_config
        english = {"language": getattr(config, "language", None) or "en", "task": getattr(config, "task", None) or "transcribe"}
        out = self.model.generate(
            encoder_outputs=BaseModelOutput(last_hidden_state=encoded), max_new_tokens=tokens or MAX_NEW_TOKENS,
            min_new_tokens=tokens, num_beams=1, do_sample=False, **self.options,
            **(english if getattr(config, "is_multilingual", False) else {}),
        )
        return out.tolist()  # without prompt


class Compiled(Generate):
    """transformers' search with a static cache and a compiled decoder. The first call of each shape compiles: tens of seconds."""

    name = "compiled"

    def __init__(self, recogniser: Recogniser, of: str = "model"):
        from transformers import CompileConfig

        super().__init__(recogniser, of)
        config = CompileConfig(mode="default")  # CUDA graphs, its default, are none of a CPU's
        config._compile_all_devices = True  # transformers compiles by itself on GPUs alone
        self.options = {"cache_implementation": "static", "compile_config": config, "max_cache_len": 2 * MOST_TOKENS}

    def features(self, samples):
        features = log_mels(samples, self.model.config.num_mel_bins)
        frames = self.frames or -(-in_context(features, None).shape[-1] // STEP_FRAMES) * STEP_FRAMES
        return in_context(features, frames).to(self.model.device, self.model.dtype)


class CTranslate(Engine):
    """CTranslate2 on the model's own context.

    Args:
        recogniser, of: as in `Engine`.
        folder: the conversion, as ``askd export --to ct2`` writes it.
        compute: what CTranslate2 calculates in.
    """

    name = "ct2"

    def __init__(self, recogniser: Recogniser, of: str, folder: Path | str, compute: str = COMPUTE):
        super().__init__(recogniser, of)
        self.folder, self.compute = Path(folder), compute
        self._load()

    def _load(self) -> None:
        ctranslate2 = _needed("ctranslate2")
        self.whisper = ctranslate2.models.Whisper(
            str(self.folder), device="cpu", compute_type=self.compute, intra_threads=torch.get_num_threads()
        )

    @property
    def weights_mb(self) -> float:
        return (self.folder / "model.bin").stat().st_size / 1e6

    def features(self, samples):
        return super().features(samples).float().cpu().numpy()

    def encode(self, features):
        import ctranslate2

        return len(features), self.whisper.encode(ctranslate2.StorageView.from_array(features))

    def decode(self, encoded, tokens):
        batch, states = encoded
        prompt, most = prompt_ids(self.model), tokens or MAX_NEW_TOKENS
        found = self.whisper.generate(
            states, [prompt] * batch, beam_size=1, max_length=most + max(most, len(prompt)),  # it halves, or takes the prompt off
            suppress_tokens=[-1] if tokens is None else [-1, self.end],
        )
        return [result.sequences_ids[0] for result in found]


class FasterWhisper(CTranslate):
    """faster-whisper's `WhisperModel.transcribe`, a clip at a time: of several files it has no batch."""

    name = "faster-whisper"

    def _load(self) -> None:
        self.whisper = _needed("faster_whisper").WhisperModel(
            str(self.folder), device="cpu", compute_type=self.compute, cpu_threads=torch.get_num_threads()
        )
        self.frames, self.encoder_s = FULL_CONTEXT, 0.0
        run = self.whisper.encode

        def timed(features):
            start = time.perf_counter()
            out = run(features)
            self.encoder_s += time.perf_counter() - start
            return out

        self.whisper.encode = timed

    def transcribe(self, samples: Sequence[np.ndarray], tokens: int | None = None) -> Heard:
        """As `Engine.transcribe`."""
        check_batch(samples, tokens)
        prompt, most = len(prompt_ids(self.model)), tokens or MAX_NEW_TOKENS
        found, features_s, self.encoder_s = [], 0.0, 0.0
        start = time.perf_counter()
        for clip in samples:
            before = time.perf_counter()
            segments, _ = self.whisper.transcribe(
                clip, language="en", beam_size=1, temperature=0.0, without_timestamps=True, condition_on_previous_text=False,
                no_speech_threshold=None, max_new_tokens=most + max(most, prompt) - prompt,
                suppress_tokens=[-1] if tokens is None else [-1, self.end],
            )
            features_s += time.perf_counter() - before  # the rest happens while segments are asked for
            found.append([token for segment in segments for token in segment.tokens])
        return self._heard(found, tokens, features_s, self.encoder_s, time.perf_counter() - start)


ENGINES = {engine.name: engine for engine in (Transformers, Generate, Compiled, CTranslate, FasterWhisper)}


def make_engine(kind: str, recogniser: Recogniser, of: str = "model", scratch: Path | str = ".") -> Engine:
    """A model in an engine.

    Args:
        kind: a name in `ENGINES`.
        recogniser: model and processor.
        of: how the model is called in tables, and its folder in ``scratch``.
        scratch: where a conversion is kept, to be found by the next engine that needs it.

    Raises:
        UnknownName: no such engine.
        AskdError: its package is not installed, or the conversion does not agree with the model.
    """
    engine = pick("engine", kind, ENGINES)
    if not issubclass(engine, CTranslate):
        return engine(recogniser, of)
    _needed("ctranslate2" if engine is CTranslate else "faster_whisper")
    folder = Path(scratch) / of
    if not (folder / "ct2").is_dir():
        from askd.export import export
        from askd.student import save_model

        save_model(*recogniser, folder / "hf")
        export(folder / "hf", "ct2", folder / "ct2")
    return engine(recogniser, of, folder / "ct2")


def check_batch(samples: Sequence[np.ndarray], tokens: int | None) -> None:
    """Refuse what not every engine can do; see `Engine.transcribe`."""
    if not len(samples):
        raise AskdError("no clips to transcribe: an engine needs at least one")
    for i, clip in enumerate(samples):
        if not 0 < len(clip) <= MAX_AUDIO_S * SAMPLING_RATE_HZ:
            raise AskdError(f"clip {i} has {len(clip) / SAMPLING_RATE_HZ:g} s: engines are timed on more than 0 and at most "
                            f"{MAX_AUDIO_S:g} s")
    if tokens is not None and not 1 <= tokens <= MOST_TOKENS:
        raise AskdError(f"tokens must lie in [1, {MOST_TOKENS}], not {tokens}")


def _needed(package: str):
    """A package of the extra ``export``, imported."""
    import importlib

    try:
        return importlib.import_module(package)
    except ImportError:
        name = package.replace("_", "-")
        raise AskdError(f"this engine needs {name}, which is not installed: pip install 'askd[export]'") from None
