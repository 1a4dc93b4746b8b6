"""Methods x seeds of one profile: train, transcribe, compare. It goes on where it stopped.

    askd ablate --profile smoke --methods ce_only askd --seeds 0 1
    folder = ablate("cpu", seeds=[0, 1, 2])
    read_json(folder / "results" / "ablation.json")["comparisons"]         # askd/ablationreport.py says what is in it

    runs/<profile>-ablation/
        seed-<n>/              a run folder (askd/runs.py): settings.json, students/<method>/, results/hypotheses/<method>.jsonl
        results/               ablation.json; wer.json, blindspots.json, hallucination.json over all seeds
        figures/               ablation_wer, ablation_terms, ablation_dev_wer (.png, .svg)

A profile may say how its ablation differs from its notebooks, with methods, seeds, and any field of `askd.runs.Settings`:

    ablation: {methods: [askd, constant_kd, ce_only], seeds: [0, 1, 2, 3, 4], steps: 400}
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from askd.ablationjobs import Job, carry_out, gpus_here
from askd.ablationreport import ablation_report, hypotheses_path, seed_folder, seeds_there
from askd.errors import AskdError, RunError, pick
from askd.files import only_writer
from askd.methods import DESCRIBED, METHODS
from askd.reproduce import read_profile, settings_of
from askd.rows import meta_path
from askd.runs import Run, Settings

FIRST = ("askd", "constant_kd", "ce_only")  # an interrupted ablation has the comparisons that matter most
SLOW = ("finetuned_teacher",)  # hears 30 s in every step: about ten times the time, so only when it is named
SEEDS = (0, 1, 2)  # ours
MAX_NEW_TOKENS = 40  # of notebook 04 where a profile does not say
Value = TypeVar("Value")


class JobsFailed(AskdError):
    """Some students could not be trained or transcribed; everything else was done and scored."""


def ablation_section(name: str, profile: Mapping) -> dict:
    """The ``ablation`` section of a profile, checked; empty without one.

    Raises:
        AskdError: no mapping, or a field that is none; the message lists all that are.
    """
    section = profile.get("ablation") or {}
    if not isinstance(section, Mapping):
        raise AskdError(f"{name} must be a mapping of settings, not {section!r}")
    known = (set(Settings.__dataclass_fields__) - {"seed"}) | {"methods", "seeds"}
    if unknown := set(section) - known:
        raise AskdError(f"{name}: unknown field {', '.join(sorted(map(str, unknown)))}: known are "
                        f"{', '.join(sorted(known))}")
    return dict(section)


def ablation_settings(profile: Mapping, section: Mapping, seed: int) -> dict:
    """Fields of `askd.runs.Settings` of one seed: the profile's, replaced by its ablation's; the dev WER is taken four times."""
    values = settings_of(profile) | {name: value for name, value in section.items() if name not in ("methods", "seeds")}
    every = max(1, values.get("steps", Settings.steps) // 4)
    return values | {"seed": seed, "training": {"dev_wer_every": every} | (values.get("training") or {})}


def chosen_methods(methods: Sequence[str] | None) -> list[str]:
    """The methods in the order in which they are trained; None: all but the slow one; ``["all"]``: all.

    Raises:
        UnknownName: no such method.
        AskdError: one given twice.
    """
    if methods is None:
        methods = [name for name in METHODS if name not in SLOW]
    elif methods in ("all", ["all"], ("all",)):
        methods = list(METHODS)
    for name in methods:
        pick("method", name, METHODS)
    wanted = _each_once("method", methods)
    return sorted(wanted, key=[*FIRST, *(name for name in DESCRIBED if name not in FIRST)].index)


def chosen_seeds(seeds: Sequence[int]) -> list[int]:
    """The seeds as given.

    Raises:
        AskdError: one given twice, or none, or not a whole number of at least 0.
    """
    if wrong := [seed for seed in seeds if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0]:
        raise AskdError(f"seed {wrong[0]!r}: seeds are whole numbers, 0 or more")
    return _each_once("seed", seeds)


def _each_once(kind: str, values: Sequence[Value]) -> list[Value]:
    if not values:
        raise AskdError(f"no {kind} given: name at least one")
    if twice := [value for value in dict.fromkeys(values) if list(values).count(value) > 1]:
        raise AskdError(f"{kind} {', '.join(map(str, twice))} is given twice: name each once")
    return list(values)


def ablate(
    profile: str = "cpu", methods: Sequence[str] | None = None, seeds: Sequence[int] | None = None, out: Path | str | None = None,
    workers: int | None = None, audio_root: Path | str | None = None, resamples: int = 10_000, train: bool = True,
    changes: Mapping | None = None,
) -> Path:
    """Train and transcribe methods x seeds of a profile, and write what they say about each other.

    Args:
        profile: a name in `askd.reproduce.profiles`.
        methods: of `askd.methods.METHODS`, or ``["all"]``; default the profile's, else all but ``finetuned_teacher``.
        seeds: of training; default the profile's, else 0, 1, 2. All are judged on the same test clips.
        out: folder; default ``runs/<profile>-ablation``.
        workers: processes, each with its share of the cores or a GPU of its own; default one a GPU, or 1.
        audio_root: folder with local copies of the public corpora.
        resamples: of the bootstrap.
        train: False: only score what is there, by default of all methods and seeds that are.
        changes: fields of `askd.runs.Settings` that replace the profile's, such as ``decoder_layers``; they need a folder of
            their own, ``out``.

    Returns:
        the folder.

    Raises:
        UnknownName: no such profile or method.
        AskdError: a method or seed given twice, an unknown field of the profile's ablation.
        RunError: another process writes there; or not one method has all seeds.
        JobsFailed: some students could not be made; the others have been, and are scored.
    """
    read = read_profile(profile)
    section = ablation_section(f"profile {profile}, ablation", read)
    if changes:
        section |= ablation_section("--set", {"ablation": dict(changes)})
        if out is None and train:
            raise AskdError("other settings than the profile's make other students: give them a folder of their own, "
                            f"--out runs/{profile}-ablation-NAME")
    folder = Path(out).resolve() if out else Run(f"{profile}-ablation").folder
    if workers is not None and workers < 1:
        raise AskdError(f"workers must be at least 1, not {workers}")
    if not train:
        there = seeds_there(folder)
        seeds = chosen_seeds(there if seeds is None else seeds)
        if unknown := set(seeds) - set(there):
            raise AskdError(f"seed {min(unknown)} is not in {folder}: there are {', '.join(map(str, there))}")
        with only_writer(folder):
            ablation_report(folder, profile, seeds, chosen_methods(["all"] if methods is None else methods), resamples)
        return folder
    methods = chosen_methods(section.get("methods") if methods is None else methods)
    seeds = chosen_seeds(section.get("seeds", SEEDS) if seeds is None else seeds)
    settings = {seed: ablation_settings(read, section, seed) for seed in seeds}
    if audio_root:
        os.environ["ASKD_AUDIO_ROOT"] = str(Path(audio_root).resolve())
    with only_writer(folder):
        for seed in seeds:
            Run(seed_folder(folder, seed)).start(**settings[seed])
        limit = ((read.get("parameters") or {}).get("04_multi_domain_wer") or {}).get("max_new_tokens", MAX_NEW_TOKENS)
        failed = carry_out(_jobs(folder, methods, seeds, limit), workers or max(1, len(gpus_here())))
        _copy_teacher(folder, seeds)
        try:
            ablation_report(folder, profile, seeds, chosen_methods(["all"]), resamples)
        except RunError:  # nothing is whole: why not says more
            if not failed:
                raise
    if failed:
        lines = "\n".join(f"  {name}: {error}" for name, error in failed.items())
        raise JobsFailed(f"{len(failed)} of the jobs failed; what is whole is in {folder}; the same command tries them again:\n"
                         f"{lines}")
    return folder


def _jobs(folder: Path, methods: Sequence[str], seeds: Sequence[int], max_new_tokens: int) -> list[Job]:
    """The teacher first, then method by method with all its seeds."""
    pairs = [("teacher", seeds[0]), *((method, seed) for method in methods for seed in seeds)]
    return [Job(seed_folder(folder, seed), seed, method, max_new_tokens) for method, seed in pairs]


def _copy_teacher(folder: Path, seeds: Sequence[int]) -> None:
    """Each seed's folder holds the one teacher's transcripts, so that ``askd score`` takes it as it is."""
    made = hypotheses_path(seed_folder(folder, seeds[0]), "teacher")
    for seed in seeds[1:] if meta_path(made).is_file() else ():
        kept = hypotheses_path(seed_folder(folder, seed), "teacher")
        kept.parent.mkdir(parents=True, exist_ok=True)
        meta_path(kept).unlink(missing_ok=True)
        shutil.copyfile(made, kept)
        shutil.copyfile(meta_path(made), meta_path(kept))
