"""figures/ is what data/results says: drawn again it is the same, and another number is another picture."""

import copy
import re
import shutil

import matplotlib.pyplot as plt
import numpy as np
import pytest

from askd.committedfigures import ABLATION, FIXED, SCORES, SHOWN, draw, drawings
from askd.figures import save
from askd.files import project_dir, read_json, write_json
from askd.publish import MARK, PAGES, publish
from askd.runs import Run

ROOT = project_dir()
RESULTS = ROOT / "data" / "results"
VISIBLE, PIXELS = 0.15, 0.002  # of a channel's range; share of the pixels that may differ by more: letters hinted otherwise
POINTS = 0.25  # by which anything drawn may lie elsewhere


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("figures")
    draw(folder, RESULTS, **SHOWN, fixed=True)
    return folder


def seen(a, b):
    """Share of the pixels that differ visibly; all where the sizes differ by more than a pixel."""
    one, two = (plt.imread(path)[..., :3] for path in (a, b))
    if max(abs(one.shape[i] - two.shape[i]) for i in (0, 1)) > 1:
        return 1.0
    height, width = (min(one.shape[i], two.shape[i]) for i in (0, 1))
    return float((np.abs(one[:height, :width] - two[:height, :width]).max(-1) > VISIBLE).mean())


def drawing(path):
    """An SVG's text without its numbers and names, and the numbers: where every line, dot and letter lies, in points."""
    text = re.sub(r'(id|xlink:href)="[^"]*"|url\(#[^)]*\)|<image[^>]*>', "", path.read_text(encoding="utf-8"))
    number = r"(?<![#\w])-?\d+\.?\d*(?:e-?\d+)?"
    return re.sub(number, "_", text), np.array([float(x) for x in re.findall(number, text)])


def drifted(a, b):
    """Whether two figures, PNG and SVG, show something else."""
    (one, here), (two, there) = (drawing(path.with_suffix(".svg")) for path in (a, b))
    return one != two or float(np.abs(here - there).max()) > POINTS or seen(a, b) > PIXELS


@pytest.mark.parametrize("name", [*SCORES, *ABLATION, *FIXED])
def test_the_committed_figure_is_what_the_results_say(drawn, name):
    committed = ROOT / "figures" / f"{name}.png"
    assert committed.is_file() and committed.with_suffix(".svg").is_file(), "make figures"
    assert not drifted(committed, drawn / f"{name}.png"), "make figures, and look at it"


def test_figures_holds_these_alone_and_a_page_shows_each():
    there = {path.name for path in (ROOT / "figures").iterdir()}
    assert there == {f"{name}{end}" for name in (*SCORES, *ABLATION, *FIXED) for end in (".png", ".svg")}
    pages = "".join((ROOT / page).read_text(encoding="utf-8") for page in set(PAGES.values()))
    assert [name for name in (*SCORES, *ABLATION, *FIXED) if f"figures/{name}.png)" not in pages] == []


def test_drawn_twice_it_is_the_same_to_the_byte(drawn, tmp_path):
    draw(tmp_path, RESULTS, ablation=SHOWN["ablation"])
    for name in ABLATION:
        for end in (".png", ".svg"):
            assert (tmp_path / f"{name}{end}").read_bytes() == (drawn / f"{name}{end}").read_bytes()
    assert b"<dc:date>" not in (tmp_path / "hero.svg").read_bytes()


def changed(report, *keys, by):
    report = copy.deepcopy(report)
    inner = report
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] += by
    return report


@pytest.mark.parametrize(("name", "file", "keys"), [
    ("hero", "real/ablation.json", ("wer", "askd", "macro", "all", "value")),
    ("hero", "real/ablation.json", ("curves", "constant_kd", 0, "dev", 3, "dev_wer")),
    ("ablation_wer", "real/ablation.json", ("wer", "askd", "macro", "real", "value")),
    ("wer_by_domain", "cpu/wer.json", ("models", "askd", "domains", "formant_telephone", "wer")),
    ("claims", "cpu/claims.json", ("claims", 0, "models", "askd", "value")),
    ("blindspot", "real/blindspot.json", ("models", "askd", "p_label", 0)),
])
def test_another_number_is_seen(drawn, tmp_path, name, file, keys):
    profile = tmp_path / file.split("/")[0]
    profile.mkdir()
    write_json(tmp_path / file, changed(read_json(RESULTS / file), *keys, by=0.5))
    (how,) = (how for of in ({"scores": profile.name, "ablation": None}, {"scores": None, "ablation": profile.name})
              for found, how in drawings(tmp_path, **of, fixed=False).items() if found == name)
    figure = how()
    save(figure, tmp_path / "other.png")
    plt.close(figure)
    assert drifted(drawn / f"{name}.png", tmp_path / "other.png")


def test_what_is_not_there_is_left_out(tmp_path):
    assert draw(tmp_path / "figures", tmp_path, "none", "none", True) == []
    (tmp_path / "one").mkdir()
    write_json(tmp_path / "one" / "ablation.json", read_json(RESULTS / "real" / "ablation-finetuned.json") | {"methods": []})
    assert set(drawings(tmp_path, None, "one", False)) == {"hero", "ablation_wer", "ablation_terms"}
    assert drawings(tmp_path, None, "one", False)["hero"]() is None  # no ASKD in it


def test_publishing_draws_from_what_it_copies(tmp_path, monkeypatch, capsys):
    repository = tmp_path / "repository"
    page = repository / PAGES["headline"]
    page.parent.mkdir(parents=True)
    shutil.copytree(RESULTS / "cpu", tmp_path / "mine" / "results")
    marks = ("headline", "table", "domains", "claims")
    page.write_text("".join(f"{MARK.format(m)}\nbefore\n{MARK.format('/' + m)}\n" for m in marks))
    monkeypatch.setattr("askd.publish.project_dir", lambda: repository)
    monkeypatch.setattr("askd.publish.data_dir", lambda: repository / "data")
    monkeypatch.setattr("askd.publish.Run", lambda name: Run(tmp_path / name))
    publish("mine")
    assert {path.stem for path in (repository / "figures").iterdir()} == set(SCORES)
    assert (repository / "data" / "results" / "mine" / "wer.json").read_bytes() == (RESULTS / "cpu" / "wer.json").read_bytes()
    assert "before" not in page.read_text() and "published mine" in capsys.readouterr().out
