"""CTranslate2: the form that faster-whisper loads, checked against transformers.

    write_ct2("runs/mine/student", "shipped-int8", "int8")
    check_ct2(*load_teacher("runs/mine/student"), "shipped-int8", samples)["same_words"]

CTranslate2's own encoder takes a context shorter than 30 s as well (tested); faster-whisper always pads to 30 s:

    whisper = ctranslate2.models.Whisper("shipped-int8")
    encoded = whisper.encode(ctranslate2.StorageView.from_array(features))     # (1, M, T), any T up to 3000
"""

from pathlib import Path

import numpy as np

from askd.errors import AskdError, pick, reason

COMPUTE = ("int8", "int8_float16", "int8_bfloat16", "float16", "bfloat16", "float32")  # kinds of stored weights
DEFAULT = "int8"  # a quarter of the size, and the fast one on CPUs. Ours
CLOSE = 0.97  # cosine between the two encoders' outputs, below which a conversion is taken for broken. Ours; int8 gives over 0.99
TOKENS = 64  # of the transcript that is compared


def need_ct2(compute: str) -> None:
    """Complain before anything is loaded.

    Raises:
        UnknownName: no such kind of weights.
        AskdError: CTranslate2 is not installed.
    """
    pick("compute", compute, dict.fromkeys(COMPUTE, ""))
    try:
        import ctranslate2.converters  # noqa: F401
    except ImportError:
        raise AskdError("this export needs CTranslate2, which is not installed: pip install 'askd[export]'") from None


def write_ct2(source: Path | str, processor, out: Path | str, compute: str = DEFAULT) -> None:
    """Convert a Whisper folder, with the files that faster-whisper reads beside the weights.

    Args:
        source: folder saved by transformers.
        processor: its processor.
        out: new folder.
        compute: one of `COMPUTE`.

    Raises:
        AskdError: the converter fails.
    """
    from ctranslate2.converters import TransformersConverter

    try:
        TransformersConverter(str(source)).convert(str(out), quantization=compute)
    except Exception as error:  # of a package that is not ours: its classes are not promised
        raise AskdError(f"CTranslate2 cannot convert {source}: {type(error).__name__}: {reason(error)}") from error
    processor.tokenizer.backend_tokenizer.save(str(Path(out) / "tokenizer.json"))
    processor.feature_extractor.save_pretrained(out)  # preprocessor_config.json: the number of mel bands is read from there


def check_ct2(model, processor, converted: Path | str, samples: np.ndarray, compute: str = DEFAULT) -> dict:
    """Compare a conversion with its original on one clip, padded to 30 s as other programs pad it.

    Args:
        model, processor: of the original.
        converted: folder of `write_ct2`.
        samples: (n,), float32 at 16 kHz, at most 30 s.
        compute: what the weights were stored as; in float32 where this CPU cannot compute in it.

    Returns:
        ``encoder_cosine`` between the outputs of the two encoders; ``text`` of the conversion, ``same_words`` as transformers.

    Raises:
        AskdError: the encoders do not agree.
    """
    import ctranslate2
    import torch

    from askd.decoding import greedy, prompt_ids
    from askd.features import FULL_CONTEXT, encode, log_mel, pad_features
    from askd.scoring import normalise

    features = pad_features([log_mel(samples, model.config.num_mel_bins)], FULL_CONTEXT)  # (1, M, 3000)
    with torch.inference_mode():
        ours = encode(model, features)  # (1, 1500, d)
    here = compute if compute in ctranslate2.get_supported_compute_types("cpu") else "float32"
    other = ctranslate2.models.Whisper(str(converted), device="cpu", compute_type=here)
    encoded = other.encode(ctranslate2.StorageView.from_array(features.numpy()), to_cpu=True)
    theirs = torch.from_numpy(np.array(encoded, dtype=np.float32))
    cosine = float(torch.nn.functional.cosine_similarity(ours.flatten(), theirs.flatten(), dim=0))
    if not cosine > CLOSE:
        raise AskdError(f"the conversion does not agree with its original: cosine {cosine:.3f} between the encoders' outputs, "
                        f"at least {CLOSE} was expected; please report it with the versions of both packages")
    prompt, end = prompt_ids(model), model.generation_config.eos_token_id
    found = [other.generate(encoded, [prompt], beam_size=1, max_length=TOKENS)[0].sequences_ids[0],
             greedy(model, features, TOKENS, encoded=ours)[0][0].tolist()]
    found = [ids[: ids.index(end)] if end in ids else ids for ids in found]
    if max(map(len, found)) >= TOKENS - len(prompt):  # cut, and the two count the prompt differently
        found = [ids[: min(map(len, found))] for ids in found]
    texts = [processor.tokenizer.decode(ids, skip_special_tokens=True).strip() for ids in found]
    return {"encoder_cosine": round(cosine, 4), "same_words": normalise(texts[0]) == normalise(texts[1]), "text": texts[0]}
