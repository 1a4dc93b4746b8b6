"""Where an ablation's files lie, and which of its students are whole: those that may be compared.

    not_whole("runs/cpu-ablation", [0, 1], ["askd", "ce_only"])      # {"ce_only": {1: "not transcribed"}}

A student is whole when it was trained to the end with the settings of its seed's folder, by the teacher and on the clips of the
others, and transcribed the clips that the teacher transcribed, in the same way.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from askd.errors import RunError
from askd.methods import METHODS
from askd.rows import meta_path
from askd.runinfo import read_info
from askd.runs import Run, Settings

DATA = ("clips", "n_clips", "dev_clips")  # in training.json: what one seed's students have in common
READ_ALIKE = ("format", "max_new_tokens")  # in the meta file of transcripts


def seed_folder(folder: Path | str, seed: int) -> Path:
    """The run folder of one seed."""
    return Path(folder) / f"seed-{seed}"


def seeds_there(folder: Path | str) -> list[int]:
    """Seeds that have a folder.

    Raises:
        RunError: none has.
    """
    found = [path.parent.name.removeprefix("seed-") for path in Path(folder).glob("seed-*/settings.json")]
    if not found:
        raise RunError(f"{folder} holds no seed-N/settings.json: run askd ablate without --no-train first")
    return sorted(int(seed) for seed in found if seed.isdigit())


def hypotheses_path(folder: Path | str, name: str) -> Path:
    """Where a seed's folder keeps the transcripts of a model."""
    return Run(folder).results / "hypotheses" / f"{name}.jsonl"


def teacher_meta(folder: Path | str, seed: int) -> dict:
    """How the teacher's transcripts in a seed's folder were made; empty when they are not there, or half-written."""
    return _meta(seed_folder(folder, seed), "teacher")


def _meta(folder: Path, name: str) -> dict:
    path = hypotheses_path(folder, name)
    return read_info(meta_path(path)) if path.is_file() else {}


def differing(one: Settings, other: Settings) -> list[str]:
    """Names of the settings, all but the seed, in which two runs differ."""
    ours, theirs = asdict(one), asdict(other)
    return [name for name in ours if name != "seed" and ours[name] != theirs[name]]


def same_settings(folder: Path | str, seeds: Sequence[int]) -> dict:
    """The settings that all seeds have, without the seed.

    Raises:
        RunError: a seed has no folder, or they differ: their mean would be that of nothing.
    """
    settings = {seed: Run(seed_folder(folder, seed)).settings() for seed in seeds}
    first = settings[seeds[0]]
    for seed, its in settings.items():
        if names := differing(first, its):
            values = "; ".join(f"{name} {getattr(first, name)!r} and {getattr(its, name)!r}" for name in names)
            raise RunError(f"{folder}: seeds {seeds[0]} and {seed} have different settings, of which there is no mean: {values}; "
                           "name the seeds that belong together, --seeds")
    return {name: value for name, value in asdict(first).items() if name != "seed"}


def refuse_other_settings(folder: Path | str, settings: Mapping[int, Settings]) -> None:
    """Training with other settings would move the students aside that are there.

    Raises:
        RunError: a seed's folder has students of other settings.
    """
    for seed, wanted in settings.items():
        run = Run(seed_folder(folder, seed))
        students = run.folder / "students"
        if not (run.folder / "settings.json").is_file() or not (students.is_dir() and any(students.iterdir())):
            continue
        there = run.settings()
        if names := differing(there, wanted):
            values = "; ".join(f"{name} {getattr(there, name)!r}, not {getattr(wanted, name)!r}" for name in names)
            raise RunError(f"{run.folder} was begun with other settings ({values}): give another folder, --out FOLDER, or delete "
                           "this one")


def seeds_to_score(folder: Path | str, seeds: Sequence[int], methods: Collection[str]) -> list[int]:
    """The given seeds, and those trained earlier with the same settings that have all of the methods, whole."""
    first = Run(seed_folder(folder, seeds[0])).settings()
    others = [seed for seed in seeds_there(folder)
              if seed not in seeds and not differing(first, Run(seed_folder(folder, seed)).settings())]
    lacks = not_whole(folder, [*seeds, *others], methods)
    return sorted({*seeds, *(seed for seed in others if not any(seed in of for of in lacks.values()))})


def not_whole(folder: Path | str, seeds: Sequence[int], methods: Collection[str]) -> dict[str, dict[int, str]]:
    """Why which student cannot be compared; methods and seeds without a reason are not in it.

    Args:
        folder: of the ablation.
        seeds: their folders; the first has the teacher's transcripts that count.
        methods: students of these.
    """
    read = teacher_meta(folder, seeds[0])
    found: dict[str, dict[int, str]] = {method: {} for method in methods}
    for seed in seeds:
        its = seed_folder(folder, seed)
        data = _data_of(its, read.get("weights"))
        for method in methods:
            why = _untrained(its, method) or _of_other_data(its, method, data, read.get("weights")) or _unread(its, method, read)
            if why:
                found[method][seed] = why
    return {method: of for method, of in found.items() if of}


def _untrained(folder: Path, method: str) -> str:
    run = Run(folder)
    student = run.student(method)
    if not (student / "finished.json").is_file():
        return "not trained to the end"
    recorded, now = read_info(student / "training.json"), run.train_config(method).recorded()
    same = all(recorded.get(part, {}).get(name, value) == value for part, values in now.items() for name, value in values.items())
    return "" if same else "trained with other settings"


def _data_of(folder: Path, teacher: str | None) -> dict:
    """On which clips the student of this teacher was trained that was finished last."""
    run = Run(folder)
    done = [run.student(m) for m in METHODS if not _untrained(folder, m)]
    recorded = {student: read_info(student / "training.json") for student in done}
    done = [student for student in done if recorded[student].get("teacher") == teacher]
    last = max(done, key=lambda student: (student / "finished.json").stat().st_mtime_ns, default=None)
    return {name: recorded[last].get(name) for name in DATA} if last else {}


def _of_other_data(folder: Path, method: str, data: Mapping, teacher: str | None) -> str:
    recorded = read_info(Run(folder).student(method) / "training.json")
    if teacher and recorded.get("teacher") != teacher:
        return "of another teacher"
    return "trained on other clips" if any(recorded.get(name) != value for name, value in data.items()) else ""


def _unread(folder: Path, method: str, teacher: Mapping) -> str:
    meta = _meta(folder, method)
    if not meta:
        return "not transcribed"
    if teacher and meta.get("clips") != teacher.get("clips"):
        return "transcribed other clips"
    return "transcribed in another way" if teacher and any(meta.get(n) != teacher.get(n) for n in READ_ALIKE) else ""
