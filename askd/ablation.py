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
from dataclasses import asdict, replace
from pathlib import Path
from typing import TypeVar

from askd.ablationfiles import differing, hypotheses_path, refuse_other_settings, seed_folder, seeds_there, seeds_to_score
from askd.ablationjobs import Job, carry_out, gpus_here
from askd.ablationreport import ablation_report
from askd.errors import AskdError, pick
from askd.files import only_writer, read_json
from askd.methods import DESCRIBED, METHODS
from askd.reproduce import read_profile, settings_of
from askd.rows import meta_path
from askd.runs import Run, Settings, train_config
from askd.student import spread

FIRST = ("askd", "constant_kd", "ce_only")  # an interrupted ablation has the comparisons that matter most
SLOW = ("finetuned_teacher",)  # hears 30 s in every step: about ten times the time, so only when it is named
SEEDS = (0, 1, 2)  # ours
MAX_NEW_TOKENS = 40  # of notebook 04 where a profile does not say
Value = TypeVar("Value")


class JobsFailed(AskdError):
    """Some students could not be trained or transcribed. The other jobs were done; ``folder`` is where they are scored, None
    when nothing could be.
    """

    def __init__(self, message: str, folder: Path | None = None):
        self.folder = folder
        super().__init__(message)


def ablation_section(name: str, section: Mapping | None) -> dict:
    """What an ablation changes, checked; empty without anything.

    Args:
        name: of the section, for messages.
        section: ``methods``, ``seeds`` and fields of `askd.runs.Settings`.

    Raises:
        AskdError: no mapping, or a field that is none; the message lists all that are. Methods or seeds that are no list.
    """
    section = section or {}
    if not isinstance(section, Mapping):
        raise AskdError(f"{name} must be a mapping of settings, not {section!r}")
    known = (set(Settings.__dataclass_fields__) - {"seed"}) | {"methods", "seeds"}
    if unknown := set(section) - known:
        raise AskdError(f"{name}: unknown field {', '.join(sorted(map(str, unknown)))}: known are "
                        f"{', '.join(sorted(known))}")
    for field in ("methods", "seeds"):
        if field in section and not isinstance(section[field], (list, tuple)):
            raise AskdError(f"{name}: {field} must be a list, not {section[field]!r}")
    return dict(section)


def ablation_settings(profile: Mapping, seed: int, *changes: Mapping) -> Settings:
    """Settings of one seed: the profile's, replaced by each of ``changes``; the dev WER is taken four times.

    Fields of ``training`` replace those of the same name and leave the others.

    Raises:
        AskdError: a value that a field cannot have.
    """
    values, training = {}, {}
    for each in (settings_of(profile), *changes):
        more = each.get("training") or {}
        if not isinstance(more, Mapping):
            raise AskdError(f"training must be a mapping, such as {{momentum: 0.95}}, not {more!r}")
        values |= {name: value for name, value in each.items() if name not in ("methods", "seeds")}
        training |= more
    if own := {"method", "seed"} & set(training):
        raise AskdError(f"training: {', '.join(sorted(own))}: an ablation changes it itself; use --methods and --seeds")
    settings = Settings(**values | {"seed": seed, "training": training})
    return replace(settings, training={"dev_wer_every": max(1, settings.steps // 4)} | training)


def check_students(settings: Settings, methods: Sequence[str]) -> None:
    """Complain before anything is trained.

    Raises:
        AskdError, UnknownName: no such teacher; more layers than it has; training that the settings do not allow.
    """
    from askd.estimate import shape

    config = Path(settings.teacher) / "config.json"
    try:
        its = read_json(config) if config.is_file() else shape(settings.teacher).to_dict()
    except OSError as error:
        raise AskdError(f"teacher {settings.teacher}: {str(error).splitlines()[0]}") from None
    for method in methods:
        made = train_config(settings, method)
        for part in ("encoder_layers", "decoder_layers"):
            if isinstance(layers := getattr(made, part), int):
                try:
                    spread(its[part], layers)
                except AskdError as error:
                    raise AskdError(f"{part} {layers}: {error}") from None


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
        seeds: of training; default the profile's, else 0, 1, 2. All are judged on the same test clips. Seeds that are there
            already, of the same settings and with all these methods, are scored with them.
        out: folder; default ``runs/<profile>-ablation``.
        workers: processes, each with its share of the cores or a GPU of its own; default one a GPU, or 1.
        audio_root: folder with local copies of the public corpora.
        resamples: of the bootstrap.
        train: False: only score what is there, by default of all methods and seeds that are.
        changes: fields of `askd.runs.Settings` that replace the profile's, such as ``decoder_layers``; they need a folder of
            their own, ``out``. ``training`` replaces the fields it names, and no other.

    Returns:
        the folder.

    Raises:
        UnknownName: no such profile, method or teacher.
        AskdError: a method or seed given twice; an unknown field, or a value it cannot have, of the profile's ablation or of
            ``changes``. Nothing has been touched then.
        RunError: another process writes there; students of other settings are there; or not one method has all seeds.
        JobsFailed: some students could not be made; the others have been, and are scored.
    """
    read = read_profile(profile)
    section, changes = ablation_section(f"profile {profile}, ablation", read.get("ablation")), dict(changes or {})
    if changes:
        if not train:
            raise AskdError("--set changes what is trained, and --no-train trains nothing: leave one of them out")
        if {"methods", "seeds", "seed"} & set(changes):
            raise AskdError("--set is for settings: use --methods and --seeds")
        ablation_section("--set", changes)
        if out is None:
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
    settings = {seed: ablation_settings(read, seed, section, changes) for seed in seeds}
    check_students(settings[seeds[0]], methods)
    refuse_other_settings(folder, settings)
    if audio_root:
        os.environ["ASKD_AUDIO_ROOT"] = str(Path(audio_root).resolve())
    with only_writer(folder):
        for seed in seeds:
            Run(seed_folder(folder, seed)).start(**asdict(settings[seed]))
        limit = ((read.get("parameters") or {}).get("04_multi_domain_wer") or {}).get("max_new_tokens", MAX_NEW_TOKENS)
        failed = carry_out(_jobs(folder, methods, seeds, limit), workers or max(1, len(gpus_here())))
        _copy_teacher(folder, seeds[0], seeds_there(folder))
        scored, not_scored = seeds_to_score(folder, seeds, methods), ""
        aside = [seed for seed in seeds_there(folder) if seed not in scored]
        try:
            ablation_report(folder, profile, scored, chosen_methods(["all"]), resamples)
            print(f"scored: seed {', '.join(map(str, scored))}")
            if aside:
                print(f"not scored: seed {', '.join(map(str, aside))}, of other settings or without all of these methods")
        except AskdError as error:  # what failed says more
            if not failed:
                raise
            not_scored = str(error)
    if failed:
        lines = "\n".join(f"  {name}: {error}" for name, error in failed.items())
        found = f"nothing could be scored ({not_scored})" if not_scored else f"what is whole is scored in {folder}"
        raise JobsFailed(f"{len(failed)} of the jobs failed; {found}; the same command tries them again:\n{lines}",
                         None if not_scored else folder)
    return folder


def _jobs(folder: Path, methods: Sequence[str], seeds: Sequence[int], max_new_tokens: int) -> list[Job]:
    """The teacher first, then method by method with all its seeds."""
    pairs = [("teacher", seeds[0]), *((method, seed) for method in methods for seed in seeds)]
    return [Job(seed_folder(folder, seed), seed, method, max_new_tokens) for method, seed in pairs]


def _copy_teacher(folder: Path, first: int, seeds: Sequence[int]) -> None:
    """Each seed's folder of the same settings holds the one teacher's transcripts, so that ``askd score`` takes it as it is."""
    made, ours = hypotheses_path(seed_folder(folder, first), "teacher"), Run(seed_folder(folder, first)).settings()
    for seed in seeds if meta_path(made).is_file() else ():
        if seed == first or differing(ours, Run(seed_folder(folder, seed)).settings()):
            continue
        kept = hypotheses_path(seed_folder(folder, seed), "teacher")
        kept.parent.mkdir(parents=True, exist_ok=True)
        meta_path(kept).unlink(missing_ok=True)
        shutil.copyfile(made, kept)
        shutil.copyfile(meta_path(made), meta_path(kept))
