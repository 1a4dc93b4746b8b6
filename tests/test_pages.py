"""The pages that people read: their links and anchors, the files they name, their commands, the citation."""

import re
import shlex
from urllib.parse import unquote

import pytest
import yaml

from askd.cli import _parser
from askd.files import project_dir
from askd.publish import MARK, PAGES

ROOT = project_dir()
NAMES = sorted(str(path.relative_to(ROOT)) for pattern in ("*.md", "docs/*.md", "data/*.md", "data/results/*.md", "tests/*.md")
               for path in ROOT.glob(pattern))
TEXTS = {name: (ROOT / name).read_text(encoding="utf-8") for name in NAMES}
ENDINGS = "py|md|yaml|yml|cff|toml|ipynb|mplstyle|json|txt"
FOLDERS = "askd|data|docs|figures|notebooks|tests"
RECORDINGS = {"metadata.csv", "metadata.jsonl", "train.tsv", "dev.tsv", "test.tsv"}  # what lies in folders of recordings


def anchors(text):
    """What GitHub makes of the headings: small letters, digits, hyphens for blanks."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands(text):
    """Lines of shell blocks, and indented ones, that start with askd, or with accelerate and go on with it."""
    fenced = [line for block in re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S) for line in block.splitlines()]
    indented = re.findall(r"^    (askd .+)$", text, re.M)
    inline = re.findall(r"`(askd [a-z]+(?: [^`]+)?)`", text)
    for line in [*fenced, *indented, *inline]:
        words = shlex.split(line, comments=True)
        if "-m" in words and words[0] == "accelerate":
            words = words[words.index("-m") + 1 :]
        if words[:1] == ["askd"]:
            yield words[1:], line in inline


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name):
    found = re.findall(r"\]\((?!https?:)([^)\s]+)\)", TEXTS[name])
    for link in found:
        path, _, anchor = unquote(link).partition("#")
        target = ((ROOT / name).parent / path).resolve() if path else ROOT / name
        assert target.exists() and target.is_relative_to(ROOT), f"{name}: {link}"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target.read_text(encoding="utf-8")), f"{name}: {link}"


@pytest.mark.parametrize("name", NAMES)
def test_named_files_and_tests_are_there(name):
    for path in re.findall(rf"`((?:(?:{FOLDERS})/)[\w./*-]*|[\w-]+\.(?:{ENDINGS}))`", TEXTS[name]):
        near = [*ROOT.glob(path), *(ROOT / name).parent.glob(path), *ROOT.glob(f"data/results/*/{path}")]
        assert near or path in RECORDINGS or {"NAME", "NN_name.ipynb"} & set(path.split("/")), f"{name}: {path}"
    for test in re.findall(r"`(test_\w+)`", TEXTS[name]):
        assert any(f"def {test}(" in path.read_text(encoding="utf-8") for path in (ROOT / "tests").glob("*.py")), test
    for target in re.findall(r"\bmake ([a-z-]+)(?=[ `]|$)", "\n".join(re.findall(r"`make [^`]*`|^make .*$", TEXTS[name], re.M))):
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M), f"make {target}"


def test_the_folder_map_is_the_repository():
    folders = {path.removesuffix("/") for path in re.findall(r"^    (\w+/) ", TEXTS["README.md"], re.M)}
    there = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith((".", "_"))}
    ignored = {line.strip("/") for line in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()}
    assert folders == there - ignored


def test_what_to_edit_names_every_subject():
    table = TEXTS["CONTRIBUTING.md"].split("## What to edit")[1]
    assert len(re.findall(r"`askd/\w+\.py`", table)) > 40
    for subject in ("divergence", "schedule", "method", "domain", "engine", "notebook"):
        assert re.search(rf"^## An? {subject}$", TEXTS["CONTRIBUTING.md"], re.M)


@pytest.mark.parametrize("name", NAMES)
def test_commands_are_understood(name, capsys):
    for words, inline in commands(TEXTS[name]):
        if inline:  # part of a command in a sentence: arguments may be left out, but none be made up
            parser = _parser()
            while words and (choices := next((a.choices for a in parser._actions if isinstance(a.choices, dict)), None)):
                assert words[0] in choices, f"{name}: askd {words}"
                parser, words = choices[words[0]], words[1:]
            assert {word for word in words if word.startswith("--")} <= set(parser._option_string_actions), f"{name}: {words}"
            continue
        if words[0] == "runs" and len(words) > 1 and words[1].isalpha():  # to the parser any word is a folder
            assert words[1] in ("compare", "runs"), f"{name}: askd {words}"
        try:
            _parser().parse_args(words)
        except SystemExit:
            pytest.fail(f"{name}: askd {shlex.join(words)}: {capsys.readouterr().err.splitlines()[-1]}")


def test_pages_hold_enough_commands():
    assert sum(len(list(commands(TEXTS[name]))) for name in ("README.md", "CONTRIBUTING.md")) > 25


def test_every_block_stands_once_in_its_page():
    for block, page in PAGES.items():
        assert TEXTS[page].count(MARK.format(block)) == TEXTS[page].count(MARK.format(f"/{block}")) == 1, block
        assert not any(MARK.format(block) in text for name, text in TEXTS.items() if name != page), block


def test_the_readme_is_short():
    assert len(TEXTS["README.md"].splitlines()) < 210
    published = ("|", "Macro WER", "*Measured here*")
    wide = [line for line in TEXTS["README.md"].splitlines() if len(line) > 140 and not line.startswith(published)]
    assert not wide, wide


def test_the_citation_is_of_this_version():
    from askd import __version__

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0" and citation["version"] == __version__ and citation["license"] == "MIT"
    assert {"message", "title", "authors"} <= set(citation) and citation["type"] == "software"
    for entry in (citation, *citation["references"]):
        assert entry["title"] and all(set(person) <= {"name", "family-names", "given-names"} for person in entry["authors"])
    assert citation["references"][0]["identifiers"] == [{"type": "other", "value": "arXiv:2601.19919"}]
