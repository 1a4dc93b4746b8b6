"""Everything that is measured on a run, made again from its files: no model, no audio.

    reports = score(["runs/cpu"])                        # writes results/*.json and figures/*
    reports = score(["runs/cpu", "runs/cpu-1", "runs/cpu-2"], out="runs/cpu-seeds")      # seeds of the same methods

What is read, all of it JSON lines, one an utterance, sound or clip (``results/`` is left out where there is none):

    results/hypotheses/MODEL.jsonl     transcripts              -> wer, blindspots, hallucination, confidence (.json)
    results/forced/MODEL.jsonl         teacher-forced tokens    -> calibration
    results/nonspeech/MODEL.jsonl      answers to no speech     -> nonspeech
    all of these reports                                        -> claims

Reports whose files are not there are left out, and said to be. One set of resamples serves all reports on transcripts.
"""

import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from askd.errors import AskdError, RunError
from askd.files import read_json, write_json
from askd.intervals import Draws
from askd.methods import DESCRIBED
from askd.panel import Rows
from askd.progress import progress_bar
from askd.rows import meta_path, read_rows
from askd.runs import Run, Settings, provenance

PARTS = ("wer", "blindspots", "hallucination", "confidence", "calibration", "nonspeech", "claims")
KINDS = ("hypotheses", "forced", "nonspeech")
Table = dict[str, list[Rows]]  # rows of every training seed, by model


@dataclass
class Answers:
    """What the models of a run answered, and what is known of them."""

    hypotheses: Table = field(default_factory=dict)
    forced: Table = field(default_factory=dict)
    nonspeech: Table = field(default_factory=dict)
    splits: dict[str, str] = field(default_factory=dict)  # of domains, where the run says so
    roles: dict[str, str] = field(default_factory=dict)
    pairs: list[tuple[str, str]] = field(default_factory=list)  # compared before
    partial: dict[str, int] = field(default_factory=dict)  # used and whole, when files were cut


def results_of(folder: Path | str) -> Path:
    """Where a run folder, or the folder of ``askd evaluate``, keeps its answers.

    Raises:
        RunError: there is no such folder, or there are no hypotheses in it.
    """
    folder = Path(folder)
    if not folder.exists():
        raise RunError(f"{folder}: no such folder")
    for place in (folder / "results", folder):
        if any((place / "hypotheses").glob("*.jsonl")):
            return place
    raise RunError(f"{folder} holds no hypotheses/*.jsonl: give a run folder (askd reproduce) or one that askd evaluate wrote")


def read_answers(folders: Sequence[Path | str], partial: bool = False) -> Answers:
    """Read the answers of a run, or of several runs that are training seeds of the same methods.

    Args:
        folders: run folders.
        partial: use the whole lines of files that were cut while they were written; of all models only the utterances that every
            one of them has.

    Raises:
        RunError: no hypotheses; runs of other methods, or of another teacher; one run twice; answers of one model that come
            from different weights.
        AskdError: a line is not what it should be; or nothing is left that all models have.
    """
    answers = Answers()
    if len({Path(folder).resolve() for folder in folders}) < len(folders):
        raise RunError("a run is given twice: two seeds must be two runs")
    for folder in folders:
        place = results_of(folder)
        earlier = read_json(place / "wer.json") if (place / "wer.json").is_file() else {}
        known = earlier.get("models", {})
        answers.roles |= {name: model["role"] for name, model in known.items()}
        answers.splits |= {d: entry["split"] for model in known.values() for d, entry in model["domains"].items()}
        if (Path(folder) / "settings.json").is_file():
            answers.splits |= Run(Path(folder).resolve()).splits()
        answers.pairs = list(dict.fromkeys((c["a"], c["b"]) for c in earlier.get("comparisons", [])))
        for kind in KINDS:
            paths = sorted((place / kind).glob("*.jsonl"), key=lambda path: _order(path.stem, list(known)))
            for path in paths:
                getattr(answers, kind).setdefault(path.stem, []).append(read_rows(path, partial, kind))
        _same_weights(place)
    for kind in KINDS:
        for name, seeds in getattr(answers, kind).items():
            if name == "teacher" and all(rows == seeds[0] for rows in seeds):
                del seeds[1:]  # one teacher, whatever the seed
            elif name == "teacher":
                raise RunError(f"the runs have different teachers ({kind}): seeds must be students of one")
            elif len(seeds) != len(folders):
                raise RunError(f"{name} is in {len(seeds)} of {len(folders)} runs ({kind}): seeds must hold the same methods")
    if partial:
        _keep_common(answers)
    return answers


def _order(name: str, known: list[str]) -> tuple[int, str]:
    names = known or ["teacher", *DESCRIBED]
    return names.index(name) if name in names else len(names), name


def _same_weights(place: Path) -> None:
    seen: dict[str, tuple[str, str]] = {}
    for path in sorted(path for kind in KINDS for path in (place / kind).glob("*.jsonl")):
        if meta_path(path).is_file():
            weights = read_json(meta_path(path)).get("weights", "")
            first, kind = seen.setdefault(path.stem, (weights, path.parent.name))
            if weights != first:
                raise RunError(f"{place}: {path.stem} in {kind}/ and in {path.parent.name}/ are not the same weights: run the "
                               "notebooks (or commands) that made them again")


def _keep_common(answers: Answers) -> None:
    """Leave the utterances that every file has, and say how many that are."""
    def key(row: Mapping) -> tuple:
        return row["domain"], row["id"], row.get("frames")

    for tables in ((answers.hypotheses, answers.forced), (answers.nonspeech,)):
        every = [{key(r) for r in rows} for table in tables for seeds in table.values() for rows in seeds]
        if not every:
            continue
        common, most = set.intersection(*every), max(map(len, every))
        if not common:
            raise AskdError("partial: there is no utterance that all files have")
        if len(common) < most:
            print(f"partial: {len(common)} of {most} utterances are in all of {len(every)} files")
            answers.partial = {"used": len(common), "of": most}
        for table in tables:
            for seeds in table.values():
                seeds[:] = [[r for r in rows if key(r) in common] for rows in seeds]


def score(
    folders: Path | str | Sequence[Path | str], out: Path | str | None = None, parts: Collection[str] = PARTS,
    resamples: int = 10_000, partial: bool = False, figures: bool = True,
) -> dict[str, dict]:
    """Recompute reports and figures from the files of a run.

    Args:
        folders: a run folder; or several, training seeds of the same methods on the same utterances.
        out: folder for ``results/`` and ``figures/``; default the run folder itself; needed with several, and with ``partial``.
        parts: names in ``PARTS``; ``claims`` is always made, from these parts and what earlier ones left.
        resamples: of the bootstrap.
        partial: as in `read_answers`.
        figures: draw them as well.

    Returns:
        reports by name.

    Raises:
        RunError: nothing to score.
        AskdError: models that did not hear the same utterances; rows that are not whole; ``out`` would overwrite whole results.
    """
    folders = [folders] if isinstance(folders, str | Path) else list(folders)
    taken = {Path(folder).resolve() for folder in folders}
    if (len(folders) > 1 or partial) and (out is None or Path(out).resolve() in taken):
        why = "several runs need" if len(folders) > 1 else "what is partial needs"
        raise AskdError(f"{why} a folder of their own for what comes out, so that no run's own results are lost: --out FOLDER")
    answers = read_answers(folders, partial)
    results = Path(out) / "results" if out is not None else results_of(folders[0])
    reports = make_reports(answers, parts, resamples, results)
    if set(reports) <= {"claims"}:
        raise RunError(f"nothing to score in {folders[0]} for {', '.join(parts)}")
    settings = Path(folders[0]) / "settings.json"
    about = {"provenance": provenance(Settings(**read_json(settings)) if settings.is_file() else None)}
    if len(folders) > 1:
        about["runs"] = [Path(folder).name for folder in folders]
    if answers.partial:
        about["partial"] = answers.partial
    for name, report in reports.items():
        write_json(results / f"{name}.json", report | about)
    if figures:
        run = Run(Path(out or folders[0]).resolve())
        for name, draw in drawings(reports).items():
            run.save_figure(draw(), name)
    return reports


def make_reports(
    answers: Answers, parts: Collection[str] = PARTS, resamples: int = 10_000, earlier: Path | None = None
) -> dict[str, dict]:
    """Reports by name, without writing anything; parts that cannot be made are named on stderr.

    Args:
        answers: from `read_answers`.
        parts: which.
        resamples: of the bootstrap.
        earlier: folder of reports made before, which ``claims`` draws on for parts that were not asked for.
    """
    from askd import blindspots, calibration, hallucination, nonspeech, wordconfidence
    from askd.claims import claims
    from askd.panel import same_utterances
    from askd.wer import declared_splits, default_pairs, wer_report

    texts, forced, wordless = answers.hypotheses, answers.forced, answers.nonspeech
    def first_of(table: Table) -> Rows:
        return next(iter(table.values()))[0]

    same_utterances(texts)
    draws = Draws(first_of(texts), resamples)
    splits = declared_splits(draws.places) | {d: s for d, s in answers.splits.items() if d in draws.places}
    wanted = list(dict.fromkeys(default_pairs(texts) if "teacher" in texts else answers.pairs or default_pairs(texts)))

    def pairs(table: Table, *without: str) -> list[tuple[str, str]]:
        return [(a, b) for a, b in wanted if a in table and b in table and not {a, b} & set(without)]

    roles = {name: answers.roles[name] for name in texts} if set(texts) <= set(answers.roles) else None
    sure = {name: seeds for name, seeds in texts.items() if any(row.get("word_tokens") for rows in seeds for row in rows)}
    makers: dict[str, tuple[object, str, Callable[[], dict]]] = {
        "wer": (texts, "", lambda: wer_report(texts, pairs(texts), roles, splits, draws=draws)),
        "blindspots": ("teacher" in texts and len(texts) > 1, "it needs a model called teacher, and students",
                       lambda: blindspots.report(texts, draws, splits, pairs(texts, "teacher"))),
        "hallucination": (texts, "", lambda: hallucination.report(texts, draws, splits, pairs(texts))),
        "confidence": (sure, "no hypotheses with log_probs and word_tokens",
                       lambda: wordconfidence.report(sure, draws, splits, pairs(sure))),
        "calibration": (forced, "no forced/*.jsonl: notebook 06 makes them, or askd evaluate --calibration",
                        lambda: calibration.report(forced, Draws(first_of(forced), resamples), splits, pairs(forced))),
        "nonspeech": (wordless, "no nonspeech/*.jsonl: notebook 06 makes them, or askd evaluate --nonspeech",
                      lambda: nonspeech.report(wordless, pairs(wordless), resamples)),
    }
    reports: dict[str, dict] = {}
    with progress_bar(total=len(makers), desc="score", unit="part", shown=None, leave=False) as bar:
        for part, (there, why, make) in makers.items():
            bar.set_postfix_str(part)
            if part in parts and there:
                reports[part] = make()
            elif part in parts:
                print(f"left out: {part}: {why}", file=sys.stderr)
            bar.update()
    others = {part: earlier / f"{part}.json" for part in makers if part not in parts} if earlier else {}
    reports["claims"] = claims({part: read_json(path) for part, path in others.items() if path.is_file()} | reports)
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
        report = reports.get(name)
        if report and report.get("claims") != []:
            found[draw] = lambda draw=draw, report=report: getattr(scorefigures, draw)(report)
    return found
