"""A finished student for other programs.

    export("runs/mine", "hf", "shipped")                        # a transformers folder
    export("runs/cpu:askd", "ct2", "shipped-int8")              # CTranslate2, int8: what faster-whisper loads
    export("runs/cpu:askd", "onnx", "shipped-onnx", samples)    # two graphs for onnxruntime, checked on a clip of yours
    upload("shipped", "me/my-whisper")                          # to the Hugging Face Hub, by the user's own login

What a run is, `askd.finished` says. Each form has a model card (`askd.modelcard`) and is checked before it appears: the folder is
there whole or not at all, and one that holds something is never written to.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from askd.audio import SAMPLING_RATE_HZ
from askd.errors import AskdError, pick, reason
from askd.files import replacing, write_json
from askd.finished import finished, whole
from askd.modelcard import model_card

FILES = ("*config.json", "*.safetensors*", "tokenizer*.json", "vocab.json", "merges.txt", "*tokens*.json", "normalizer.json")


def export(
    run: Path | str, to: str, out: Path | str, samples: np.ndarray | None = None, compute: str | None = None,
    progress: bool = False,
) -> dict:
    """Write a student in another form.

    Args:
        run: of ``askd distill`` or ``askd train``, ``RUN:METHOD``, or any Whisper saved by transformers.
        to: ``hf``, ``ct2`` or ``onnx``.
        out: new or empty folder.
        samples: what the check transcribes, (n,) float32 at 16 kHz, at most 30 s; None: a second of noise.
        compute: of ct2: one of `askd.ct2export.COMPUTE`; None: int8.
        progress: bars with ETA.

    Returns:
        what was written and checked: ``to``, ``folder``, ``megabytes``, ``text`` of the export; ``same_words`` as transformers,
        with ``compute`` and ``encoder_cosine`` (ct2) or ``log_prob_difference`` (onnx).

    Raises:
        UnknownName: no such form or compute.
        AskdError: nothing to export, it is damaged, ``out`` is not empty, a package is missing, or the check fails.
    """
    write: Callable = pick("export", to, {"hf": _hf, "ct2": _ct2, "onnx": _onnx})
    if compute and to != "ct2":
        raise AskdError(f"compute is of ct2 alone: {to} keeps the weights as they are")
    student, out = finished(run), Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise AskdError(f"{out} is not empty: choose another folder for the export, or empty it")
    if samples is None:
        samples = np.random.default_rng(0).normal(0, 0.05, SAMPLING_RATE_HZ).astype(np.float32)
    with replacing(out) as scratch:
        found = write(student.model, scratch, samples, compute, progress)
        (scratch / "README.md").write_text(model_card(run, to), encoding="utf-8")
    megabytes = sum(path.stat().st_size for path in out.rglob("*") if path.is_file()) / 1e6
    return {"to": to, "folder": str(out), "megabytes": round(megabytes, 1), **found}


def _hf(source: Path, out: Path, samples: np.ndarray, compute: None, progress: bool) -> dict:
    from askd.decoding import transcribe
    from askd.features import FULL_CONTEXT
    from askd.teacher import load_teacher

    whole(source)
    out.mkdir()
    for name in sorted({path for pattern in FILES for path in source.glob(pattern)}):
        shutil.copyfile(name, out / name.name)
    return {"text": transcribe(*load_teacher(out), [samples], frames=FULL_CONTEXT)[0].text}


def _ct2(source: Path, out: Path, samples: np.ndarray, compute: str | None, progress: bool) -> dict:
    from askd.ct2export import DEFAULT, check_ct2, need_ct2, write_ct2

    compute = compute or DEFAULT
    need_ct2(compute)
    model, processor = whole(source)
    write_ct2(source, processor, out, compute)
    found = {"compute": compute, **check_ct2(model, processor, out, samples, compute)}
    write_json(out / "askd.json", {"checked": found})
    return found


def _onnx(source: Path, out: Path, samples: np.ndarray, compute: None, progress: bool) -> dict:
    from askd.onnxexport import check_onnx, need_onnx, write_onnx

    need_onnx()
    model, processor = whole(source)
    out.mkdir()
    write_onnx(model, processor, out, progress)
    found = check_onnx(model, processor, out, samples)
    write_json(out / "askd.json", {"checked": found})
    return found


def check_hub_name(name: str) -> None:
    """Complain of a name that the Hub would not take, before anything is written.

    Raises:
        AskdError: neither ``NAME`` nor ``OWNER/NAME``.
    """
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(name)
    except ValueError as error:
        raise AskdError(f"--push-to-hub {name!r}: {error}; give OWNER/NAME") from None


def upload(folder: Path | str, name: str) -> str:
    """Upload an export to the Hugging Face Hub with the login of ``hf auth login``. A new repository is private.

    Args:
        folder: an export.
        name: ``OWNER/NAME``, or ``NAME`` for one's own.

    Returns:
        address of its page.

    Raises:
        AskdError: not logged in, no network, or refused. The folder stays as it is.
    """
    import httpx
    from huggingface_hub import HfApi, get_token

    check_hub_name(name)
    kept = f"The export is whole in {folder}; to upload it later: hf upload {name} {folder} --private"
    if not get_token():
        raise AskdError(f"not uploaded, for nobody is logged in to the Hugging Face Hub: hf auth login. {kept}")
    try:
        made = HfApi().create_repo(name, private=True, exist_ok=True)
        HfApi().upload_folder(repo_id=made.repo_id, folder_path=folder, commit_message="Exported by askd")
    except (httpx.HTTPError, OSError, ValueError) as error:
        raise AskdError(f"not uploaded ({reason(error)}): is the network there, and may this login write to {name}? "
                        f"See hf auth whoami. {kept}") from error
    return str(made)
