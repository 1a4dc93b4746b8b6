"""Everything that is measured on a run, made again from its files: no model, no audio.

    reports = score(["runs/cpu"])                        # writes results/*.json and figures/*
    reports = score(["runs/cpu", "runs/cpu-1"], out="runs/two-seeds")      # seeds of the same methods

What is read, all of it JSON lines, one an utterance, sound or clip (``results/`` is left out where there is none):

    results/hypotheses/MODEL.jsonl     transcripts              -> wer.json, blindspots.json, hallucination.json
    results/forced/MODEL.jsonl         teacher-forced tokens    -> calibration.json, with word confidences of the transcripts
    results/nonspeech/MODEL.jsonl      answers to no speech     -> nonspeech.json
    all of them                                                 -> claims.json

Reports whose files are not there are left out. One set of resamples serves all reports on the same utterances.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from askd.errors import AskdError, RunError
from askd.files import read_json, write_json
from askd.intervals import Draws
from askd.panel import Rows
from askd.rows import read_rows
from askd.runs import DESCRIBED, Run, Settings, provenance

PARTS = ("wer", "blindspots", "hallucination", "calibration", "nonspeech", "claims")


@dataclass
class Answers:
    """What the models of a run answered: rows of every training seed, by model."""

    hypotheses: dict[str, list[Rows]] = field(default_factory=dict)
    forced: dict[str, list[Rows]] = field(default_factory=dict)
    nonspeech: dict[str, list[Rows]] = field(default_factory=dict)
    splits: dict[str, str] = field(default_factory=dict)  # of domains that a report of the run declares
    roles: dict[str, str] = field(default_factory=dict)


def results_of(folder: Path | str) -> Path:
    """Where a run folder, or the folder of ``askd evaluate``, keeps its answers.

    Raises:
        RunError: there are no hypotheses in it.
    """
    folder = Path(folder)
    for place in (folder / "results", folder):
        if any((place / "hypotheses").glob("*.jsonl")):
            return place
    raise RunError(f"{folder} holds no hypotheses/*.jsonl: give a run folder (askd reproduce) or one that askd evaluate wrote")


def read_answers(folders: Sequence[Path | str], partial: bool = False) -> Answers:
    """Read the answers of a run, or of several runs that are training seeds of the same methods.

    Args:
        folders: run folders.
        partial: use the whole lines of a file that was cut while it was written; of all models only the utterances that every
            one of them has.

    Raises:
        RunError: no hypotheses, or the runs hold other methods.
        AskdError: a line is not what it should be.
    """
    answers = Answers()
    for folder in folders:
        place = results_of(folder)
        for kind in ("hypotheses", "forced", "nonspeech"):
            table = getattr(answers, kind)
            for path in sorted((place / kind).glob("*.jsonl"), key=_order):
                table.setdefault(path.stem, []).append(read_rows(path, partial, None if kind == "hypotheses" else kind))
        if (place / "wer.json").is_file():
            known = read_json(place / "wer.json")["models"]
            answers.roles |= {name: model["role"] for name, model in known.items()}
            answers.splits |= {d: entry["split"] for model in known.values() for d, entry in model["domains"].items()}
    for kind in ("hypotheses", "forced", "nonspeech"):
        for name, seeds in getattr(answers, kind).items():
            if len(seeds) not in (1, len(folders)) or (len(seeds) == 1 < len(folders) and name != "teacher"):
                raise RunError(f"{name} is in {len(seeds)} of {len(folders)} runs ({kind}): seeds must hold the same methods")
            if name == "teacher":
                del seeds[1:]  # one teacher, whatever the seed
        if partial:
            _keep_common(getattr(answers, kind))
    return answers


def _order(path: Path) -> tuple[int, str]:
    names = ["teacher", *DESCRIBED]
    return names.index(path.stem) if path.stem in names else len(names), path.stem


def _keep_common(table: dict[str, list[Rows]]) -> None:
    """Leave the utterances that every model has, and say how many that are."""
    def key(row: Mapping) -> tuple:
        return row["domain"], row["id"], row.get("frames")

    every = [{key(r) for r in rows} for seeds in table.values() for rows in seeds]
    common = set.intersection(*every) if every else set()
    if any(len(keys) != len(common) for keys in every):
        print(f"partial: {len(common)} utterances are in all of {len(every)} files, up to {max(map(len, every))} in one")
        for seeds in table.values():
            seeds[:] = [[r for r in rows if key(r) in common] for rows in seeds]


def score(
    folders: Path | str | Sequence[Path | str], out: Path | str | None = None, parts: Collection[str] = PARTS,
    resamples: int = 10_000, partial: bool = False, figures: bool = True,
) -> dict[str, dict]:
    """Recompute reports and figures from the files of a run.

    Args:
        folders: a run folder; or several, training seeds of the same methods on the same utterances.
        out: folder for ``results/`` and ``figures/``; default the run folder itself; needed with several.
        parts: names in ``PARTS``.
        resamples: of the bootstrap.
        partial: as in `read_answers`.
        figures: draw them as well.

    Returns:
        reports by name.

    Raises:
        RunError: nothing to score.
        AskdError: models that did not hear the same utterances; rows that are not whole.
    """
    folders = [folders] if isinstance(folders, str | Path) else list(folders)
    if len(folders) > 1 and out is None:
        raise AskdError("several runs need a folder of their own for what comes out: --out FOLDER")
    answers = read_answers(folders, partial)
    out = Path(out or folders[0])
    results = out / "results" if len(folders) > 1 or out != Path(folders[0]) else results_of(folders[0])
    reports = make_reports(answers, parts, resamples, {p: results / f"{p}.json" for p in PARTS})
    settings = folders[0] / Path("settings.json")
    about = provenance(Settings(**read_json(settings)) if settings.is_file() else None)
    for name, report in reports.items():
        write_json(results / f"{name}.json", report | {"provenance": about})
    if figures:
        run = Run(out.resolve())
        for name, draw in drawings(reports).items():
            run.save_figure(draw(), name)
    return reports


def make_reports(
    answers: Answers, parts: Collection[str] = PARTS, resamples: int = 10_000, kept: Mapping[str, Path] | None = None
) -> dict[str, dict]:
    """Reports by name, without writing anything.

    Args:
        answers: from `read_answers`.
        parts: which.
        resamples: of the bootstrap.
        kept: files of reports made before, which ``claims`` draws on for parts that were not asked for.
    """
    from askd import blindspots, calibration, hallucination, nonspeech, wordconfidence
    from askd.claims import claims
    from askd.wer import declared_splits, default_pairs, same_utterances, wer_report

    texts = answers.hypotheses
    same_utterances(texts)
    draws = Draws(next(iter(texts.values()))[0], resamples)
    splits = declared_splits(draws.places) | {d: s for d, s in answers.splits.items() if d in draws.places}
    roles = {name: answers.roles.get(name) or {"teacher": "teacher", "askd": "student"}.get(name, "control") for name in texts}
    pairs = default_pairs(texts)
    reports: dict[str, dict] = {}
    if "wer" in parts:
        reports["wer"] = wer_report(texts, pairs, roles, splits, draws=draws)
    if "blindspots" in parts and "teacher" in texts and len(texts) > 1:
        reports["blindspots"] = blindspots.report(texts, draws, splits, [p for p in pairs if "teacher" not in p])
    if "hallucination" in parts:
        reports["hallucination"] = hallucination.report(texts, draws, splits, pairs)
    if "calibration" in parts and answers.forced:
        reports["calibration"] = calibration.report(answers.forced, draws, splits, pairs)
        reports["calibration"]["words"] = wordconfidence.report(texts, draws, splits, pairs)
    if "nonspeech" in parts and answers.nonspeech:
        reports["nonspeech"] = nonspeech.report(answers.nonspeech, pairs, resamples)
    if "claims" in parts:
        others = {n: read_json(p) for n, p in (kept or {}).items() if n not in reports and n != "claims" and p.is_file()}
        reports["claims"] = claims(others | reports)
    return reports


def drawings(reports: Mapping[str, Mapping]) -> dict[str, Callable]:
    """Figures by file name, each a function that draws it."""
    from askd import figures, scorefigures

    found: dict[str, Callable] = {}
    if wer := reports.get("wer"):
        found["wer_by_domain"] = lambda: figures.wer_by_domain(wer)
        found["in_and_out"] = lambda: scorefigures.in_and_out(wer)
        if any(c["b"] == "teacher" for c in wer["comparisons"]):
            found["differences"] = lambda: figures.differences(wer)
        for a, b in (("askd", "constant_kd"), ("student", "teacher")):  # of notebook 04, of askd distill
            if any((c["a"], c["b"]) == (a, b) for c in wer["domain_comparisons"]):
                found["domain_differences"] = lambda a=a, b=b: scorefigures.domain_differences(wer, a, b)
                break
    for name, draw in (("blindspots", "inheritance"), ("hallucination", "hallucination"), ("calibration", "reliability"),
                       ("nonspeech", "nonspeech"), ("claims", "claims")):
        if report := reports.get(name):
            found[draw] = lambda draw=draw, report=report: getattr(scorefigures, draw)(report)
    return found
