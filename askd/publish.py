"""Copy what a finished run says into the repository: ``figures/``, ``data/results/<profile>/`` and the README's table."""

import shutil
from pathlib import Path

from askd.ablationreport import ablation_domains, ablation_sentences, ablation_table
from askd.claims import claims_table
from askd.errors import RunError
from askd.files import data_dir, project_dir, read_json, replacing
from askd.methods import DESCRIBED
from askd.runs import Run
from askd.wer import by_domain, cell

PUBLISHED = ("wer", "latency", "headline", "blindspots", "hallucination", "confidence", "calibration", "nonspeech", "claims")
FIGURES = ("wer_by_domain", "in_and_out", "weights_and_dev", "differences", "latency", "inheritance", "hallucination",
           "nonspeech", "reliability", "claims")
ABLATION_FIGURES = ("ablation_wer", "ablation_terms", "ablation_dev_wer")
MARK = "<!-- results:{} -->"


def _named(model: str, headline: dict) -> str:
    return f"teacher, {headline['teacher']} as published" if model == "teacher" else DESCRIBED.get(model, model)


def results_table(wer: dict, headline: dict) -> str:
    """The README's table in Markdown: macro WER per model with its interval, and the difference from the teacher with its own."""
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


def ablation_markdown(ablation: dict) -> str:
    """Methods x seeds in Markdown: macro WERs and differences, every domain, and what the intervals allow one to say of ASKD."""
    seeds, scored = len(ablation["seeds"]), ablation["provenance"]
    about = (f"Macro WER % of profile `{ablation['profile']}`, {seeds} seed{'s' * (seeds > 1)}, scored at commit "
             f"`{scored['commit']}`; in brackets 95 % intervals over utterances{' and seeds' * (seeds > 1)}.")
    domains = ["<details><summary>Every domain (&ast;: never trained on)</summary>", "", _markdown(*ablation_domains(ablation)),
               "", "</details>"]
    return "\n".join([about, "", _markdown(*ablation_table(ablation)), "", *domains, "",
                      *[f"- {sentence}" for sentence in ablation_sentences(ablation)]])


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
    """One honest sentence of the run, for the README."""
    found = next(c for c in wer["comparisons"] if (c["a"], c["b"], c["split"]) == ("askd", "teacher", "all"))
    seeds = f"{wer['seeds']} seed{'s' * (wer['seeds'] > 1)}"
    return (
        f"**Measured here** (profile `{profile}`, {seeds}, scored at commit `{wer['provenance']['commit']}`): the ASKD student "
        f"is **{headline['speedup_batch1']:.1f}x** as fast as its teacher at batch 1, and its macro WER over all domains is "
        f"**{found['delta']:+.1f} points** from the teacher's (95 % CI [{found['ci95'][0]:+.1f}, {found['ci95'][1]:+.1f}])."
    )


def publish(profile: str, scores: Path | str | None = None) -> None:
    """Copy figures and results, and rewrite the README between its ``results`` marks.

    Args:
        profile: name of the run.
        scores: folder of ``askd score --out`` that holds several seeds of it; its reports and figures are taken where it has any.

    ``runs/<profile>-ablation`` (askd ablate) is published with it where there is one, or alone where the run itself was not made.

    Raises:
        RunError: the run is not finished.
    """
    run, ablation = Run(profile), Run(f"{profile}-ablation")
    if (ablation.results / "ablation.json").is_file():
        _publish_ablation(profile, ablation)
        if not run.folder.exists():
            return

    def at(relative: str, notebooks: str) -> Path:
        of_one = ("latency", "headline", "weights_and_dev")  # not made of scores
        if scores and Path(relative).stem not in of_one:
            if not (Path(scores) / relative).is_file():
                raise RunError(f"{scores} has no {relative}: askd score RUNS --out {scores}, with all parts and figures")
            return Path(scores) / relative
        return run.needs(relative, notebooks)

    target = data_dir() / "results" / profile
    found = {}
    for name in PUBLISHED:
        path = at(f"results/{name}.json", "04_multi_domain_wer to 06_hallucination_and_calibration")
        found[name] = read_json(path)
        if "partial" in found[name]:
            raise RunError(f"{path} was made of partial files: it is not to be published")
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target / path.name)
    for name in FIGURES:
        for suffix in (".png", ".svg"):
            shutil.copy(at(f"figures/{name}{suffix}", "01 to 06"), project_dir() / "figures" / f"{name}{suffix}")
    _rewrite_readme({
        "headline": headline_text(found["wer"], found["headline"], profile),
        "table": results_table(found["wer"], found["headline"]),
        "domains": domains_table(found["wer"]),
        "claims": claims_markdown(found["claims"], found["headline"]),
    })
    print(f"published {profile}: figures/, {target.relative_to(project_dir())}/, README.md")


def _publish_ablation(profile: str, run: Run) -> None:
    """Copy what `askd ablate` left; the README says it where it has the marks."""
    target = data_dir() / "results" / profile
    target.mkdir(parents=True, exist_ok=True)
    shutil.copy(run.results / "ablation.json", target / "ablation.json")
    (project_dir() / "figures").mkdir(exist_ok=True)
    for path in (run.folder / "figures" / f"{name}{suffix}" for name in ABLATION_FIGURES for suffix in (".png", ".svg")):
        if path.is_file():
            shutil.copy(path, project_dir() / "figures" / path.name)
    for other in sorted(run.folder.parent.glob(f"{run.folder.name}-*")):  # the same with other settings (askd ablate --set)
        if (other / "results" / "ablation.json").is_file():
            shutil.copy(other / "results" / "ablation.json", target / f"{other.name.removeprefix(f'{profile}-')}.json")
    told = MARK.format("ablation") in (project_dir() / "README.md").read_text(encoding="utf-8")
    if told:
        _rewrite_readme({"ablation": ablation_markdown(read_json(run.results / "ablation.json"))})
    print(f"published {run.folder.name}: figures/, {target.relative_to(project_dir())}/ablation.json" + ", README.md" * told)


def _rewrite_readme(contents: dict[str, str]) -> None:
    """Replace what stands between the marks of each name.

    Raises:
        RunError: the README lacks a mark.
    """
    readme = project_dir() / "README.md"
    text = readme.read_text(encoding="utf-8")
    for mark, content in contents.items():
        begin, end = MARK.format(mark), MARK.format(f"/{mark}")
        if begin not in text or end not in text:
            raise RunError(f"README.md has no {begin} ... {end}")
        head, rest = text.split(begin, 1)
        text = f"{head}{begin}\n{content}\n{end}{rest.split(end, 1)[1]}"
    with replacing(readme) as scratch:
        scratch.write_text(text, encoding="utf-8")
