"""The repository itself: notebooks, profiles, command line, environment, README."""

import itertools
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat
import papermill
import pytest
import yaml

from askd.cli import EXAMPLES, main
from askd.files import project_dir, read_json
from askd.reproduce import notebooks, profiles, read_profile
from askd.runs import Run

ROOT = project_dir()


@pytest.mark.parametrize("path", notebooks(), ids=lambda p: p.stem)
def test_notebook(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [c for c in notebook.cells if c.cell_type == "code"]
    tags = [tag for c in notebook.cells for tag in c.metadata.get("tags", [])]
    assert notebook.metadata.kernelspec.name == "python3"
    assert tags.count("parameters") == 1 and tags.count("nbval-check-output") >= 1
    assert [c.execution_count for c in code] == list(range(1, len(code) + 1)), "run make notebooks"
    assert all(len(c.source.splitlines()) <= 20 for c in code)
    assert not any(o.output_type == "error" for c in code for o in c.outputs)
    checked = [c for c in code if "nbval-check-output" in c.metadata.get("tags", [])]
    assert not any("image/png" in o.get("data", {}) for c in checked for o in c.outputs), "nbval compares no pictures"
    assert not any(re.search(r"^\s*[!%]", c.source, re.M) for c in code)
    assert path.stat().st_size < 700_000
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"[\"'( ](/home/|/root/|/tmp/|/Users/|/work/)", text)
    whole = "\n".join(c.source for c in notebook.cells)
    for part in ("**Question.**", "**You will**", "**Time**", "**Needed**", "## Summary", "## Exercises", "<details>"):
        assert part in whole, part


def test_notebooks_are_spelt_right(tmp_path):
    """Their sources: outputs hold what models write, and pictures."""
    for path in notebooks():
        text = "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells)
        (tmp_path / f"{path.stem}.txt").write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "codespell_lib", "--toml", str(ROOT / "pyproject.toml"), str(tmp_path)]
    assert subprocess.run(command, capture_output=True, text=True).stdout == ""


def markdown_of(path):
    return [c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == "markdown"]


@pytest.mark.parametrize("path", notebooks(), ids=lambda p: p.stem)
def test_the_course_keeps_its_form(path):
    cells = markdown_of(path)
    assert cells[0].startswith(f"# {path.stem[:2]} ") and sum(len(re.findall("^# ", cell, re.M)) for cell in cells) == 1
    headings = re.findall("^## (.+)$", "\n".join(cells), re.M)
    assert headings[-2:] == ["Summary", "Exercises"]
    assert [title.split(". ")[0] for title in headings[:-2]] == [str(i + 1) for i in range(len(headings) - 2)]
    exercises, solutions = next(cell for cell in cells if cell.startswith("## Exercises")).split("<details>")
    numbers = [re.findall(r"^(\d)\. ", part, re.M) for part in (exercises, solutions)]
    assert numbers[0] == numbers[1] == [str(i + 1) for i in range(len(numbers[0]))] and 3 <= len(numbers[0]) <= 5
    assert solutions.startswith("<summary>Solutions</summary>") and solutions.rstrip().endswith("</details>")
    tags = set(re.findall(r"\*(paper|ours|measured here)\*", "\n".join(cells), re.I))
    assert len({tag.lower() for tag in tags}) >= 2, f"only {tags} say whose claims these are"


# How a word is explained where it first appears; what stands for a longer name gives it in the same cell.
EXPLAINED = {
    "WER": "word error rate", "KL": "Kullback-Leibler", "CE": "cross-entropy", "KD": "knowledge distillation",
    "EMA": "moving average", "ECE": "expected calibration error", "NLL": "negative log-likelihood",
    "AUROC": "receiver operating characteristic", "NCE": "normalised cross-entropy", "log-mel": "mel band",
    "logit": r"\*\*logit\*\*", "teacher forcing": r"\*teacher forcing\*", "greedy": r"\*greedy\*", "macro": r"\*\*macro\*\*",
    "softmax": r"\*softmax\*", "blind spot": r"\*\*blind spot\*\*",
}


def test_no_word_comes_before_its_explanation():
    cells = [cell for path in notebooks() for cell in markdown_of(path)[1:]]  # titles promise what sections explain
    for word, explanation in EXPLAINED.items():
        first = next(cell for cell in cells if re.search(rf"(?<![\w-]){word}s?(?![\w-])", cell))
        assert re.search(explanation, first, re.I), f"{word!r} is not explained where it first appears: {first[:200]}"


def test_the_course_is_complete_and_linked():
    names = [p.stem for p in notebooks()]
    assert names == [
        "00_quickstart", "01_baseline_kd", "02_decay_curriculum", "03_self_kd", "04_multi_domain_wer", "05_latency",
        "06_hallucination_and_calibration", "07_your_own_domain",
    ]
    for before, after in itertools.pairwise(names):
        assert re.match(rf"Next: \[.+\]\({after}\.ipynb\)", markdown_of(ROOT / "notebooks" / f"{before}.ipynb")[-1])
    linked = {link for path in notebooks() for cell in markdown_of(path) for link in re.findall(r"\]\((\S+\.ipynb)\)", cell)}
    assert {link for link in linked if "://" not in link} <= {f"{name}.ipynb" for name in names}


@pytest.mark.parametrize("name", profiles())
def test_every_profile_key_is_a_parameter(name):
    for notebook, values in read_profile(name)["parameters"].items():
        known = papermill.inspect_notebook(str(ROOT / "notebooks" / f"{notebook}.ipynb"))
        assert set(values) <= set(known)
        assert known["profile"]["default"] == '"smoke"'


@pytest.mark.parametrize("command", EXAMPLES)
def test_help_shows_examples(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    assert f"askd {command}" in capsys.readouterr().out.split("examples:")[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["reproduce", "--profile", "gpus"], "unknown profile 'gpus'"),
        (["data", "get", "telefone"], "unknown domain 'telefone'"),
        (["train", "--method", "akd", "--out", "x"], "unknown method 'akd' (did you mean 'askd'?)"),
        (["train", "--set", "mu", "--out", "x"], "FIELD=VALUE"),
        (["evaluate", "--model", "tiny", "--manifest", "a.csv", "--out", "x"], "unknown model 'tiny'"),
        (["latency", "--student", "nowhere"], "unknown model 'nowhere'"),
    ],
)
def test_mistakes_are_one_clear_line(arguments, message, capsys):
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error and len(error.strip().splitlines()) == 1


def test_data_list_names_every_domain(capsys):
    assert main(["data", "list"]) == 0
    assert "formant_telephone" in (out := capsys.readouterr().out) and "asterisk_8khz" in out


def test_evaluate_command_end_to_end(clips, tmp_path, capsys):
    (tmp_path / "my.csv").write_text(f'path,text\n{clips[0].path},"{clips[0].text}"\n', encoding="utf-8")
    arguments = ["evaluate", "--model", "tiny.en", "--manifest", str(tmp_path / "my.csv"), "--out", str(tmp_path / "out")]
    assert main(arguments) == 0
    assert "WER" in capsys.readouterr().out
    assert json.loads((tmp_path / "out" / "wer.json").read_text())["models"]["tiny.en"]["domains"]["my"]["utterances"] == 1
    assert main([*arguments, "--calibration", "--nonspeech", "small", "--max-new-tokens", "12"]) == 0
    assert main(["score", str(tmp_path / "out"), "--resamples", "50"]) == 0
    reports = {p.stem: json.loads(p.read_text()) for p in (tmp_path / "out").glob("*.json")}
    assert reports["calibration"]["models"]["tiny.en"]["splits"]["all"]["tokens"] > 5 and reports["nonspeech"]["sounds"] == 8
    assert {claim["name"] for claim in reports["claims"]["claims"]} == {"over_confidence", "hallucination"}


def test_later_notebooks_say_what_to_run_first(tmp_path):
    run = Run(str(tmp_path / "fresh"))
    with pytest.raises(Exception, match="run notebook 00_quickstart"):
        run.settings()
    with pytest.raises(Exception, match="run notebook 03_self_kd"):
        run.needs("students/askd/finished.json", "03_self_kd")
    with pytest.raises(Exception, match="unknown setting stepps"):
        run.start(stepps=3)


def test_import_is_light():
    heavy = ("torch", "transformers", "matplotlib", "hibari", "papermill")
    code = f"import askd, sys; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_conda_environment_follows_pyproject():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    conda = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    pip = next(d["pip"] for d in conda["dependencies"] if isinstance(d, dict))
    torch_pin = next(d for d in project["project"]["dependencies"] if d.startswith("torch=="))
    assert pip[0] == torch_pin
    extras = re.fullmatch(r"--editable \.\[(.*)\]", pip[1])[1].split(",")
    aside = {"scale"}  # torchao is loud at every import of accelerate: only for those who ask
    assert set(extras) == set(project["project"]["optional-dependencies"]) - aside
    python = next(d for d in conda["dependencies"] if isinstance(d, str) and d.startswith("python="))
    assert project["project"]["requires-python"].startswith(f">={python.split('=')[1]}")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert torch_pin in makefile and f".[{','.join(extras)}]" in makefile
    every = [*project["project"]["dependencies"], *itertools.chain(*project["project"]["optional-dependencies"].values())]
    assert all("==" in d for d in every)


def test_published_blocks_are_the_committed_results():
    from askd.latencytables import details, read_latency, summary
    from askd.publish import (
        claims_markdown,
        committed_ablation,
        domains_table,
        headline_text,
        profile_shown,
        results_table,
        shown_block,
        summary_markdown,
    )

    results = ROOT / "data" / "results"
    wer, headline, claims = (read_json(results / "cpu" / f"{name}.json") for name in ("wer", "headline", "claims"))
    shown = results / profile_shown(shown_block("ablation"))
    for mark, content in (
        ("headline", headline_text(wer, headline)), ("table", results_table(wer, headline)), ("domains", domains_table(wer)),
        ("claims", claims_markdown(claims, headline)), ("ablation", committed_ablation(shown)),
        ("summary", summary_markdown(read_json(shown / "ablation.json"))),
        ("latency", summary(read_latency(results / "latency"))), ("speed", details(read_latency(results / "latency"))),
    ):
        assert shown_block(mark) == f"\n{content}\n", f"{mark}: askd publish writes it"


def test_committed_results_fulfil_their_identities():
    for path in Path(ROOT / "data" / "results").rglob("wer.json"):
        report = json.loads(path.read_text())
        assert report["provenance"]["commit"]
        for model in report["models"].values():
            for entry in model["domains"].values():
                assert entry["errors"] == entry["sub"] + entry["del"] + entry["ins"]
                assert entry["wer"] == pytest.approx(100 * entry["errors"] / entry["words"], abs=1e-3)
            assert model["macro"]["all"] == pytest.approx(
                sum(e["wer"] for e in model["domains"].values()) / len(model["domains"]), abs=1e-2
            )
        for c in report["comparisons"]:
            assert c["ci95"][0] <= c["delta"] <= c["ci95"][1]
            if c["split"] == "all":
                a, b = (report["models"][c[k]]["macro"]["all"] for k in ("a", "b"))
                assert c["delta"] == pytest.approx(a - b, abs=1e-2)
