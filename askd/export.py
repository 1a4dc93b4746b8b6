"""A finished student for other programs.

    export("runs/mine", "hf", "shipped")            # a transformers folder with a model card
    export("runs/mine", "ct2", "shipped-int8")      # CTranslate2, int8: what faster-whisper loads

``folder`` is what ``askd distill`` left, or any Whisper folder. An export appears whole or not at all, and a folder that holds
something is never written to. The CTranslate2 export is checked: its encoder against transformers', and one transcript.
"""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from askd.audio import SAMPLING_RATE_HZ
from askd.clips import Clip
from askd.errors import AskdError, pick
from askd.files import read_json, replacing, write_json
from askd.plan import FEW_TESTS

COMPUTE = "int8"  # of the CTranslate2 export: a quarter of the size, and the fast one on CPUs. Ours
CLOSE = 0.97  # cosine between the two encoders' outputs, below which a conversion is taken for broken. Ours; int8 gives over 0.99
TOKENS = 64  # of the transcript that is compared
FILES = ("*config.json", "*.safetensors", "tokenizer*.json", "vocab.json", "merges.txt", "*tokens*.json", "normalizer.json")


def student_folder(folder: Path | str) -> Path:
    """The Whisper in ``folder``: itself, or the student that ``askd distill`` chose there.

    Raises:
        AskdError: there is none, or it is not finished.
    """
    chosen = Path(folder) / "results" / "student.json"
    for path in (Path(folder), Path(folder) / (read_json(chosen)["folder"] if chosen.is_file() else "student")):
        if (path / "config.json").is_file() and (path / "model.safetensors").is_file():
            return path
    raise AskdError(f"{folder} holds no finished model: give a folder of `askd distill` or `askd train` that has ended")


def export(folder: Path | str, to: str, out: Path | str, clips: Sequence[Clip] = ()) -> dict:
    """Write a student in another form.

    Args:
        folder: of ``askd distill``, ``askd train``, or any Whisper saved by transformers.
        to: ``hf`` or ``ct2``.
        out: new or empty folder.
        clips: the first one is what the check transcribes; without any, a second of noise.

    Returns:
        what was written and checked: ``to``, ``folder``, ``megabytes``, and for ct2 ``encoder_cosine``, ``same_words``, ``text``.

    Raises:
        UnknownName: no such form.
        AskdError: nothing to export, ``out`` is not empty, CTranslate2 is not installed, or the conversion does not agree.
    """
    write: Callable = pick("export", to, {"hf": _hf, "ct2": _ct2})
    source, out = student_folder(folder), Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise AskdError(f"{out} is not empty: choose another folder for the export, or empty it")
    with replacing(out) as scratch:
        found = write(source, scratch, Path(folder), clips)
    megabytes = sum(path.stat().st_size for path in out.rglob("*") if path.is_file()) / 1e6
    return {"to": to, "folder": str(out), "megabytes": round(megabytes, 1), **found}


def _hf(source: Path, out: Path, folder: Path, clips: Sequence[Clip]) -> dict:
    out.mkdir()
    for name in sorted({path for pattern in FILES for path in source.glob(pattern)}):
        shutil.copyfile(name, out / name.name)
    (out / "README.md").write_text(model_card(folder), encoding="utf-8")
    return {}


def _ct2(source: Path, out: Path, folder: Path, clips: Sequence[Clip]) -> dict:
    try:
        from ctranslate2.converters import TransformersConverter
    except ImportError:
        raise AskdError("this export needs CTranslate2, which is not installed: pip install 'askd[export]'") from None
    names = ("tokenizer.json", "preprocessor_config.json", "processor_config.json")
    beside = [name for name in names if (source / name).is_file()]
    try:
        TransformersConverter(str(source), copy_files=beside).convert(str(out), quantization=COMPUTE)
        found = check_ct2(source, out, clips[0].samples() if clips else _noise())
    except AskdError:
        raise
    except Exception as error:  # of a package that is not ours: its classes are not promised
        raise AskdError(f"CTranslate2 cannot convert {source}: {type(error).__name__}: {error}") from error
    write_json(out / "askd.json", {"compute": COMPUTE, "checked": found})
    return found


def _noise() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.05, SAMPLING_RATE_HZ).astype(np.float32)


def check_ct2(folder: Path | str, converted: Path | str, samples: np.ndarray) -> dict:
    """Compare a conversion with its original on one clip, padded to 30 s as other programs pad it.

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
    from askd.teacher import load_teacher

    model, processor = load_teacher(folder)
    features = pad_features([log_mel(samples, model.config.num_mel_bins)], FULL_CONTEXT)  # (1, M, 3000)
    with torch.inference_mode():
        ours = encode(model, features)  # (1, 1500, d)
    other = ctranslate2.models.Whisper(str(converted), device="cpu", compute_type=COMPUTE)
    encoded = other.encode(ctranslate2.StorageView.from_array(features.numpy()), to_cpu=True)
    theirs = torch.from_numpy(np.array(encoded, dtype=np.float32))
    cosine = float(torch.nn.functional.cosine_similarity(ours.flatten(), theirs.flatten(), dim=0))
    if not cosine > CLOSE:
        raise AskdError(f"the conversion of {folder} does not agree with it: cosine {cosine:.3f} between the encoders' outputs, "
                        f"at least {CLOSE} was expected; please report it with the versions of both packages")
    prompt, end = prompt_ids(model), model.generation_config.eos_token_id
    found = [other.generate(encoded, [prompt], beam_size=1, max_length=TOKENS)[0].sequences_ids[0],
             greedy(model, features, TOKENS, encoded=ours)[0][0].tolist()]
    found = [ids[: ids.index(end)] if end in ids else ids for ids in found]
    if max(map(len, found)) >= TOKENS - len(prompt):  # cut, and the two count the prompt differently
        found = [ids[: min(map(len, found))] for ids in found]
    texts = [processor.tokenizer.decode(ids, skip_special_tokens=True).strip() for ids in found]
    return {"encoder_cosine": round(cosine, 4), "same_words": normalise(texts[0]) == normalise(texts[1]), "text": texts[0]}


def model_card(folder: Path | str) -> str:
    """README.md of an export: what it is, how it came about, what it reaches, what it is for, and under which licence."""
    folder = Path(folder)
    known = {name: read_json(folder / path) if (folder / path).is_file() else {}
             for name, path in (("plan", "plan.json"), ("wer", "results/wer.json"), ("latency", "results/latency.json"))}
    asked, train, use = (known["plan"].get(name, {}) for name in ("asked", "train", "use"))
    teacher = asked.get("teacher", "a Whisper model")
    base = {"tiny.en": "openai/whisper-tiny.en", "base": "openai/whisper-base"}.get(teacher, teacher)
    stock = base.count("/") == 1 and not Path(base).exists()  # a Hub id, not a folder
    terms = "mit" if base.startswith("openai/whisper") else "other"
    lines = [
        "---", "language: en", f"license: {terms}", "library_name: transformers", "pipeline_tag: automatic-speech-recognition",
        *([f"base_model: {base}"] if stock else []), "---", "",
        f"# A student of {base if stock else Path(teacher).name}", "", "A Whisper for English speech recognition, "
        + ("distilled with [ASKD](https://arxiv.org/abs/2601.19919) by `askd`: the\nteacher's influence fades over training, and "
           "a phase of self-distillation follows." if train.get("method") == "askd" else "distilled by `askd`."), "",
    ]
    if train:
        mixed = f" and {use['mixed in']} synthetic clips" if use.get("mixed in") else ""
        lines += [
            "## Training", "",
            f"{use['train'] - use.get('mixed in', 0)} recordings{mixed};",
            f"{train['steps']} steps of {train['batch_size']} clips, method `{train['method']}`, "
            f"{train['decoder_layers']} decoder layers, seed {train['seed']}.", "",
        ]
    if known["wer"]:
        models = known["wer"]["models"]
        domains = models["student"]["domains"]
        lines += ["## Word error rate, %", "", "| test recordings | utterances | teacher | this model |", "|---|---|---|---|"]
        lines += [f"| {name} | {row['utterances']} | {models['teacher']['domains'][name]['wer']:.1f} | {row['wer']:.1f} |"
                  for name, row in domains.items()]
        said = [c["in_words"] for c in known["wer"]["comparisons"] if c["split"] == "all"]
        if sum(row["utterances"] for row in domains.values()) < FEW_TESTS:
            said.append("These are too few recordings for a verdict.")
        lines += ["", *said, "", f"Scored by {known['wer']['scorer']}.", ""]
    if known["latency"]:
        machine, rows = known["latency"]["machine"], {row["model"]: row for row in known["latency"]["rows"]}
        teacher_ms, student_ms = rows["teacher"]["p50_ms"], rows["student"]["p50_ms"]
        lines += [
            "## Latency", "",
            f"Median {student_ms:.0f} ms on the clip's own length (`askd.transcribe`), {teacher_ms:.0f} ms for the teacher on "
            f"its padded 30 s: batch 1, clips of {rows['student']['audio_s']:.1f} s (mean),",
            f"equal token counts, transformers on {machine['gpu'] or machine['cpu']}.",
            "Programs that pad to 30 s gain only what cut layers give.", "",
        ]
    licences = known["plan"].get("licences", {})
    data_terms = [f"- Trained on: {name} ({terms or 'no licence declared'})" for name, terms in licences.items()]
    return "\n".join([
        *lines, "## Intended use", "",
        "Transcription of recordings like those it was trained on, of at most 30 s each. It may make up words on silence and",
        "noise, and it was not tested on other voices, accents or channels than those above. Not for decisions about people.", "",
        "## Licence", "",
        "The weights derive from the teacher's and stand under its licence (OpenAI's Whisper: MIT).", "", *data_terms, "",
        "What was learnt from recordings may be bound by their terms too; of your own, they are yours to say.", "",
    ])
