"""Copy what a finished run says into the repository: ``figures/``, ``data/results/<profile>/`` and the README's table."""

import shutil

from askd.errors import RunError
from askd.files import data_dir, project_dir, read_json, replacing
from askd.runs import DESCRIBED, Run

PUBLISHED = ("wer", "latency", "headline")
FIGURES = ("wer_by_domain", "weights_and_dev", "differences", "latency")
MARK = "<!-- results:{} -->"


def results_table(wer: dict, headline: dict) -> str:
    """The README's table in Markdown: macro WER per model with the interval against the teacher."""
    teacher = headline["teacher"]
    intervals = {(c["a"], c["split"]): c for c in wer["comparisons"] if c["b"] == "teacher"}
    lines = [
        "| model | in-domain WER % | out-of-domain WER % | all domains WER % | all, minus teacher (95 % CI) |",
        "|---|---|---|---|---|",
    ]
    for name, model in wer["models"].items():
        macro = model["macro"]
        found = intervals.get((name, "all"))
        difference = f"{found['delta']:+.1f} [{found['ci95'][0]:+.1f}, {found['ci95'][1]:+.1f}]" if found else ""
        described = f"teacher, {teacher} as published" if name == "teacher" else DESCRIBED.get(name, name)
        lines.append(
            f"| {described} | {macro['in_domain']:.1f} | {macro['out_of_domain']:.1f} | {macro['all']:.1f} | {difference} |"
        )
    return "\n".join(lines)


def domains_table(wer: dict) -> str:
    """WER of every model in every domain, in Markdown."""
    names = list(wer["models"])
    lines = ["| domain | " + " | ".join(DESCRIBED.get(n, n) for n in names) + " |", "|---" * (len(names) + 1) + "|"]
    for domain, entry in wer["models"][names[0]]["domains"].items():
        values = " | ".join(f"{wer['models'][n]['domains'][domain]['wer']:.1f}" for n in names)
        lines.append(f"| {domain}{'' if entry['split'] == 'in_domain' else ' *'} | {values} |")
    return "\n".join(lines)


def headline_text(wer: dict, headline: dict) -> str:
    """One honest sentence of the run, for the README."""
    low, high = headline["ci95"]
    commit = wer["provenance"]["commit"]
    return (
        f"**Measured here** (profile `cpu`, {headline['seeds']} seed, commit `{commit}`): the ASKD student is "
        f"**{headline['speedup_batch1']:.1f}x** as fast as its teacher at batch 1, and its macro WER over all domains is "
        f"**{headline['delta_wer']:+.1f} points** from the teacher's (95 % CI [{low:+.1f}, {high:+.1f}])."
    )


def publish(profile: str) -> None:
    """Copy figures and results, and rewrite the README between its ``results`` marks.

    Raises:
        RunError: the run is not finished.
    """
    run = Run(profile)
    target = data_dir() / "results" / profile
    found = {}
    for name in PUBLISHED:
        path = run.needs(f"results/{name}.json", "04_multi_domain_wer and 05_latency")
        found[name] = read_json(path)
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target / path.name)
    for name in FIGURES:
        for suffix in (".png", ".svg"):
            shutil.copy(run.needs(f"figures/{name}{suffix}", "01 to 05"), project_dir() / "figures" / f"{name}{suffix}")
    readme = project_dir() / "README.md"
    text = readme.read_text(encoding="utf-8")
    for mark, content in (
        ("headline", headline_text(found["wer"], found["headline"])),
        ("table", results_table(found["wer"], found["headline"])),
        ("domains", domains_table(found["wer"])),
    ):
        begin, end = MARK.format(mark), MARK.format(f"/{mark}")
        if begin not in text or end not in text:
            raise RunError(f"README.md has no {begin} ... {end}")
        head, rest = text.split(begin, 1)
        text = f"{head}{begin}\n{content}\n{end}{rest.split(end, 1)[1]}"
    with replacing(readme) as scratch:
        scratch.write_text(text, encoding="utf-8")
    print(f"published {profile}: figures/, {target.relative_to(project_dir())}/, README.md")
