"""Copy what a finished run says into the repository: ``data/results/<profile>/``, ``figures/`` and the pages that show it.

A block is what stands in a page between ``<!-- results:NAME -->`` and ``<!-- results:/NAME -->``; `PAGES` says in which page.
"""

import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from askd.ablationtables import (
    COLUMNS,
    P_VALUES,
    ablation_domains,
    ablation_sentences,
    ablation_table,
    means,
    means_in_words,
    over,
    repeats,
    shared_sources,
)
from askd.claims import claims_table
from askd.committedfigures import draw
from askd.errors import RunError
from askd.files import data_dir, project_dir, read_json, replacing
from askd.latencytables import NAMES, details, read_latency
from askd.latencytables import summary as latency_summary
from askd.methods import DESCRIBED
from askd.runs import Run, Settings
from askd.wer import by_domain, cell

PUBLISHED = ("wer", "latency", "headline", "blindspots", "hallucination", "confidence", "calibration", "nonspeech", "claims")
RESULTS = "data/results/README.md"
PAGES = {**dict.fromkeys(("summary", "latency"), "README.md"),
         **dict.fromkeys(("headline", "table", "domains", "claims", "ablation", "speed"), RESULTS)}
MARK = "<!-- results:{} -->"


def _named(model: str, headline: dict) -> str:
    return f"teacher, {headline['teacher']} as published" if model == "teacher" else DESCRIBED.get(model, model)


def results_table(wer: dict, headline: dict) -> str:
    """The models' table in Markdown: macro WER per model with its interval, and the difference from the teacher with its own."""
    against = {(c["a"], c["split"]): c for c in wer["comparisons"] if c["b"] == "teacher"}
    real = any("real" in model["macro"] for model in wer["models"].values())
    titles = {"in_domain": "in-domain", "out_of_domain": "out-of-domain", **({"real": "real speech"} if real else {}),
              "all": "all domains"}
    lines = [f"| model | {' | '.join(f'{title} WER %' for title in titles.values())} | all, minus teacher |"]
    lines.append("|---" * (len(titles) + 2) + "|")
    for name, model in wer["models"].items():
        cells = [cell(model["macro"].get(split), model["macro_ci95"].get(split)) for split in titles]
        found = against.get((name, "all"))
        cells.append(cell(found["delta"], found["ci95"], signed=True) if found else "")
        lines.append(f"| {_named(name, headline)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _markdown(header: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|---" * len(header) + "|"]
    return "\n".join(lines + [f"| {' | '.join(row).replace('* ', '&ast; ')} |" for row in rows])


def domains_table(wer: dict) -> str:
    """WER of every model in every domain with its interval, in Markdown."""
    return _markdown(*by_domain(wer))


def ablation_markdown(ablation: Mapping, others: Mapping[str, Mapping] | None = None) -> str:
    """Methods x seeds in Markdown: macro WERs and differences, every domain, and what the intervals allow one to say of ASKD.

    Args:
        ablation: the content of ``ablation.json``.
        others: the same with other settings, by name of their file; what differs, their table and sentences follow below.
    """
    about = (f"Profile `{ablation['profile']}`, {repeats(ablation)}, {_made(ablation)}. Macro WER %; in brackets 95 % intervals "
             f"over {over(ablation)}; {means_in_words(ablation)}.")
    shared = "; ".join(", ".join(names) for names in shared_sources(ablation))
    caveat = ["", f"Domains of one source ({shared}) may share recordings, speakers or prompts, and are resampled apart: "
              "intervals of means over them are somewhat too narrow."] if shared else []
    domains = ["<details><summary>Every domain (&ast;: never trained on)</summary>", "", _markdown(*ablation_domains(ablation)),
               "", "</details>"]
    lines = [about, *caveat, "", _markdown(*ablation_table(ablation)), "", *domains, "", *_told(ablation)]
    for name, other in (others or {}).items():
        lines += ["", f"**{_other_settings(ablation, other)}** (`{name}.json`), {repeats(other)}, {_made(other)}; intervals over "
                  f"{over(other)}.", "", _markdown(*ablation_table(other)), "", *_told(other)]
    return "\n".join(lines)


def _told(ablation: Mapping) -> list[str]:
    told = [f"- {sentence}" for sentence in ablation_sentences(ablation)]
    return [f"What the intervals allow one to say ({P_VALUES}):", "", *told] if told else []


def _made(ablation: Mapping) -> str:
    """Where it was scored and trained; code that was in no commit is said to be so."""
    def at(entry: Mapping) -> str:
        return f"`{entry['commit']}`" + " with uncommitted changes" * bool(entry["changed"])

    trained = list(dict.fromkeys(at(entry) for entry in ablation["trained"]))
    return f"scored at commit {at(ablation['provenance'])}, trained at {', '.join(trained) or 'an unknown commit'}"


def _other_settings(ablation: Mapping, other: Mapping) -> str:
    """What differs; a setting that is newer than a result has its default there."""
    ours, theirs = (asdict(Settings()) | entry["settings"] for entry in (ablation, other))
    changed = [f"{name} {value} instead of {ours.get(name)}" for name, value in theirs.items() if value != ours.get(name)]
    return f"With {', '.join(changed)}" if changed else "With the same settings"


def summary_markdown(ablation: Mapping) -> str:
    """The front page's table: models x macro WERs, the mean over all domains first, and what it was made of."""
    header, rows = ablation_table(ablation)
    counts = {split: n for split, n in means(ablation).items() if split != "in_domain"}  # narrow enough for a phone
    splits = sorted(counts, key=lambda split: split != "all")
    shown = [0, *[header.index(COLUMNS[split]) for split in splits]]
    titles = ["model", *[f"{COLUMNS[split]} ({counts[split]})" for split in splits]]
    about = (f"Macro WER % over so many domains, in brackets 95 % intervals over {over(ablation)}. Profile "
             f"`{ablation['profile']}`, {_made(ablation)}.")
    return "\n".join([_markdown(titles, [[row[i] for i in shown] for row in rows]), "", about])


def committed_ablation(folder: Path) -> str:
    """The text of ``ablation.json`` and ``ablation-*.json`` in a folder of ``data/results``."""
    others = {path.stem: read_json(path) for path in sorted(folder.glob("ablation-*.json"))}
    return ablation_markdown(read_json(folder / "ablation.json"), others)


def profile_shown(block: str) -> str | None:
    """Whose ablation a block shows; None when it shows none.

    >>> profile_shown("Profile `real`, 3 seeds"), profile_shown("not made yet")
    ('real', None)
    """
    found = re.match(r"\s*Profile `([^`]+)`", block)
    return found[1] if found else None


def claims_markdown(claims: dict, headline: dict) -> str:
    """The claims of the abstract, a row a model, and what the intervals allow one to say, in Markdown."""
    header, rows = claims_table(claims)
    lines = ["| " + " | ".join(header) + " |", "|---" * len(header) + "|"]
    lines += [f"| {_named(row[0], headline)} | {' | '.join(row[1:])} |" for row in rows]
    tests = [f"- {claim['name'].replace('_', '-')}: {test['in_words']}, p {test['p_holm']:.2g}"
             for claim in claims["claims"] for test in claim["tests"]]
    head = "<details><summary>What the intervals allow one to say (p after Holm over these fifteen)</summary>"
    return "\n".join([*lines, "", head, "", *tests, "", "</details>"])


def headline_text(wer: dict, headline: dict, profile: str = "cpu") -> str:
    """One honest sentence of the run."""
    found = next(c for c in wer["comparisons"] if (c["a"], c["b"], c["split"]) == ("askd", "teacher", "all"))
    seeds = f"{wer['seeds']} seed{'s' * (wer['seeds'] > 1)}"
    return (
        f"**Measured here** (profile `{profile}`, {seeds}, scored at commit `{wer['provenance']['commit']}`): the ASKD student "
        f"is **{headline['speedup_batch1']:.1f}x** as fast as its teacher at batch 1, and its macro WER over all domains is "
        f"**{found['delta']:+.1f} points** from the teacher's (95 % CI [{found['ci95'][0]:+.1f}, {found['ci95'][1]:+.1f}])."
    )


def publish(profile: str, scores: Path | str | None = None) -> None:
    """Copy results, draw ``figures/`` from them, and rewrite the blocks of `PAGES`.

    Args:
        profile: name of the run; ``latency``: what ``make latency`` measured.
        scores: folder of ``askd score --out`` that holds several seeds of it; its reports are taken where it has any.

    ``runs/<profile>-ablation`` (askd ablate) is published with it where there is one, or alone where the run has no results.

    Raises:
        RunError: the run is not finished. Nothing has been published then.
    """
    run, ablation = Run(profile), Run(f"{profile}-ablation")
    if profile == "latency":
        _publish_latency(run.folder)
        return
    has_ablation = (ablation.results / "ablation.json").is_file()
    if has_ablation and not scores and not any((run.results / f"{name}.json").is_file() for name in PUBLISHED):
        _publish_ablation(profile, ablation)
        print(f"the ablation alone: {run.results} holds none of {', '.join(PUBLISHED)}; askd reproduce --profile {profile} "
              "makes them")
        return

    def at(relative: str, notebooks: str) -> Path:
        of_one = ("latency", "headline")  # not made of scores
        if scores and Path(relative).stem not in of_one:
            if not (Path(scores) / relative).is_file():
                raise RunError(f"{scores} has no {relative}: askd score RUNS --out {scores}, with all parts")
            return Path(scores) / relative
        return run.needs(relative, notebooks)

    target = data_dir() / "results" / profile
    paths = {name: at(f"results/{name}.json", "04_multi_domain_wer to 06_hallucination_and_calibration") for name in PUBLISHED}
    found = {name: read_json(path) for name, path in paths.items()}
    for name, path in paths.items():
        if "partial" in found[name]:
            raise RunError(f"{path} was made of partial files: it is not to be published")
    if has_ablation:
        _publish_ablation(profile, ablation)
    target.mkdir(parents=True, exist_ok=True)
    for path in paths.values():
        shutil.copy(path, target / path.name)
    draw(project_dir() / "figures", data_dir() / "results", scores=profile)
    _rewrite({
        "headline": headline_text(found["wer"], found["headline"], profile),
        "table": results_table(found["wer"], found["headline"]),
        "domains": domains_table(found["wer"]),
        "claims": claims_markdown(found["claims"], found["headline"]),
    })
    print(f"published {profile}: figures/, {target.relative_to(project_dir())}/, {RESULTS}")


def _publish_latency(folder: Path) -> None:
    """Copy what ``make latency`` left."""
    results, target = read_latency(folder), data_dir() / "results" / "latency"
    target.mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        shutil.copy(folder / f"{name}.json", target / f"{name}.json")
    _rewrite({"latency": latency_summary(results), "speed": details(results)})
    print(f"published latency: {target.relative_to(project_dir())}/, {PAGES['latency']}, {PAGES['speed']}; make figures draws it")


def _publish_ablation(profile: str, run: Run) -> None:
    """Copy what `askd ablate` left; figures and pages show it unless they show another profile's."""
    target = data_dir() / "results" / profile
    target.mkdir(parents=True, exist_ok=True)
    shutil.copy(run.results / "ablation.json", target / "ablation.json")
    for other in sorted(run.folder.parent.glob(f"{profile}-ablation-*")):  # the same with other settings (askd ablate --set)
        if (other / "results" / "ablation.json").is_file():
            shutil.copy(other / "results" / "ablation.json", target / f"{other.name.removeprefix(f'{profile}-')}.json")
    block, page = shown_block("ablation"), PAGES["ablation"]
    shown, done = profile_shown(block or ""), f"published {run.folder.name}: data/results/{profile}/ablation.json"
    marks = f"{MARK.format('ablation')} ... {MARK.format('/ablation')}"
    if shown not in (None, profile):
        print(f"{done}; {page} and figures/ show the ablation of profile {shown} and stay: empty the page between {marks} to "
              "show this one")
        return
    (project_dir() / "figures").mkdir(exist_ok=True)
    draw(project_dir() / "figures", data_dir() / "results", ablation=profile)
    if block is None:
        print(f"{done}, figures/; {page} has no {marks}, so it does not show it")
        return
    _rewrite({"ablation": committed_ablation(target), "summary": summary_markdown(read_json(target / "ablation.json"))})
    print(f"{done}, figures/, {page}, {PAGES['summary']}")


def shown_block(name: str) -> str | None:
    """What stands between the marks of a block in its page; None where page or marks are missing."""
    page = project_dir() / PAGES[name]
    text = page.read_text(encoding="utf-8") if page.is_file() else ""
    found = re.search(f"{re.escape(MARK.format(name))}(.*?){re.escape(MARK.format(f'/{name}'))}", text, re.DOTALL)
    return found[1] if found else None


def _rewrite(contents: Mapping[str, str]) -> None:
    """Replace what stands between the marks of each block, in its page.

    Raises:
        RunError: a page lacks a mark. No page has been changed then.
    """
    for name in contents:
        if shown_block(name) is None:
            raise RunError(f"{PAGES[name]} has no {MARK.format(name)} ... {MARK.format(f'/{name}')}")
    for name, content in contents.items():
        page, begin, end = project_dir() / PAGES[name], MARK.format(name), MARK.format(f"/{name}")
        head, rest = page.read_text(encoding="utf-8").split(begin, 1)
        with replacing(page) as scratch:
            scratch.write_text(f"{head}{begin}\n{content}\n{end}{rest.split(end, 1)[1]}", encoding="utf-8")
