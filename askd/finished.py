"""Which finished student is meant, and whether its folder is whole.

    finished("runs/cpu:askd").model          # runs/cpu/students/askd
    finished("runs/mine").model              # of `askd distill`: the student that it chose; of `askd train`: the folder itself
    finished("tiny.en").model                # a stock Whisper, from the cache
    load_teacher(named_model("runs/cpu:askd"))
    model, processor = whole("runs/mine")    # loaded, every weight there and a number
"""

from dataclasses import dataclass
from pathlib import Path

from askd.errors import AskdError, UnknownName, reason
from askd.files import read_json
from askd.teacher import SOURCES, Recogniser, load_teacher, model_folder

TIED = {"proj_out.weight", "model.decoder.embed_tokens.weight"}  # one matrix, written once


@dataclass(frozen=True)
class Finished:
    """A student and the run that knows of it."""

    model: Path  # Whisper folder
    run: Path  # folder with results/; the model's own where it stands alone
    name: str  # of the student in those results


def finished(run: Path | str) -> Finished:
    """The student of a run.

    Args:
        run: a folder of ``askd distill`` or ``askd train``; a run with several students as ``FOLDER:METHOD``; any Whisper
            folder; ``tiny.en`` or ``base``.

    Raises:
        AskdError: nothing there, it is not finished, or there are several students and none is chosen; the message lists them.
        UnknownName: no such student.
    """
    if str(run) in SOURCES:
        return Finished(Path(model_folder(run)), Path(model_folder(run)), str(run))
    folder, method = (Path(run), "") if Path(run).is_dir() else _in_two(str(run))
    places = (*sorted(folder.glob("students/*")), *sorted(folder.glob("seed-*/students/*")))
    students = [path for path in places if _complete(path)]
    if method:
        if (path := folder / "students" / method) not in students:
            raise UnknownName(f"finished student of {folder}", method, {path.name for path in students})
        return Finished(path, folder, method)
    for path in (folder, _chosen(folder)):
        if _complete(path):
            above = path.parent
            if above.name == "students":  # its run knows more of it
                return Finished(path, above.parent, path.name)
            return Finished(path, above if _chosen(above) == path else folder, "student")
    if students:
        choices = [f"{path.parent.parent}:{path.name}" for path in students]
        raise AskdError(f"{folder} has several students: say {' or '.join(choices)}")
    raise AskdError(f"{run} holds no finished model: give a folder of `askd distill` or `askd train` that has ended, RUN:METHOD, "
                    f"any Whisper saved by transformers, or {' or '.join(SOURCES)}")


def named_model(name: str) -> str:
    """What `askd.load_teacher` takes, for anything that people call a model: as in `finished`, or a Hub id.

    Raises:
        AskdError: as `finished`; a misspelt name is found out before anything is loaded.
    """
    folder = _in_two(name)[0]
    if folder.is_dir() and not (folder / "config.json").is_file():
        return str(finished(name).model)
    model_folder(name)
    return name


def _chosen(run: Path) -> Path:
    """The student of a folder of ``askd distill``."""
    chosen = run / "results" / "student.json"
    return run / read_json(chosen)["folder"] if chosen.is_file() else run / "student"


def _in_two(run: str) -> tuple[Path, str]:
    """``FOLDER:METHOD`` in two; all of it is the folder where there is none such."""
    folder, _, method = run.rpartition(":")
    return (Path(folder), method) if folder and Path(folder).is_dir() else (Path(run), "")


def _complete(folder: Path) -> bool:
    return (folder / "config.json").is_file() and any(folder.glob("model*.safetensors"))


def whole(folder: Path | str) -> Recogniser:
    """Load a Whisper folder and look whether anything is missing, which transformers would fill with random numbers.

    Raises:
        AskdError: it cannot be read, a weight is missing or not a number, or tokenizer or generation config are not Whisper's.
    """
    from safetensors import safe_open

    advice = "it is damaged or half-copied: copy it again"
    try:
        model, processor = load_teacher(folder)
        stored = set()
        for path in Path(folder).glob("*.safetensors"):
            with safe_open(path, "pt") as file:
                stored |= set(file.keys())
    except Exception as error:  # of packages that are not ours: their classes are not promised
        raise AskdError(f"{folder} cannot be loaded as a Whisper ({reason(error)}); {advice}") from error
    missing = set(model.state_dict()) - stored - (TIED if TIED & stored else set())
    if missing:
        raise AskdError(f"{folder} lacks {len(missing)} weights, among them {min(missing)}; {advice}")
    broken = [name for name, value in model.named_parameters() if not value.isfinite().all()]
    if broken:
        raise AskdError(f"{folder} holds weights that are not numbers, in {broken[0]}; take an earlier student or train again")
    start = model.config.decoder_start_token_id
    if processor.tokenizer.convert_tokens_to_ids("<|startoftranscript|>") != start:  # without its files it comes empty
        raise AskdError(f"{folder} has no tokenizer of its own: copy tokenizer.json from the model it derives from")
    if getattr(model.generation_config, "no_timestamps_token_id", None) is None:
        raise AskdError(f"{folder} has no generation_config.json of Whisper: copy it from the model it derives from")
    return Recogniser(model, processor)
