"""The site: built offline without a warning, no dead link, formulas set, sound that plays, nothing wider than a phone."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from browser import PLAYS, BrowserUnavailable, browser, picture

from askd.files import project_dir

pytest.importorskip("myst_nb", reason="pip install -e '.[site]'")
SITE = project_dir() / "site"
sys.path.insert(0, str(SITE))
from docstrings import as_rst, as_tex  # noqa: E402
from links import problems  # noqa: E402


def test_formulas_of_docstrings_become_tex():
    assert as_tex("CE = - 1/N sum_n log q_n(y_n)") == r"\mathrm{CE} = - \frac{1}{N} \sum_{n} \log q_{n}(y_{n})"
    assert as_tex("D = tau^2 KL(p^tau || q^tau)") == r"D = \tau^{2} \mathrm{KL}(p^{\tau} \,\|\, q^{\tau})"
    assert as_tex("sum_{e != y} p^_e,   m = beta p") == r"\sum_{e \ne y} \hat{p}_{e}, \\ m = \beta p"
    assert as_tex("RTFx = seconds of audio / x") == r"\mathrm{RTFx} =\text{ seconds of audio }/ x"
    assert as_tex("x = 1    50 % of d_x") == r"x = 1 \quad \text{50 \% of d\_x}"


def test_paragraphs_of_docstrings_keep_their_kind():
    rst = as_rst([
        "Of a thing:", "", "    D = tau^2", "", "Or so.", "", "    rows = read('x')", "", "    askd score runs/cpu", "",
        "Two:", "- one", "- two", "", "Args:", "    x: first.", "", "    still x: D = tau^2",
    ])
    assert rst == [
        "Of a thing:", "", ".. math::", "", r"   D = \tau^{2}", "", "", "Or so.", "",
        ".. code-block:: python", "", "    rows = read('x')", "", "", ".. code-block:: sh", "", "    askd score runs/cpu", "", "",
        "Two:", "", "- one", "- two", "", "Args:", "    x: first.", "", "    still x: D = tau^2",
    ]


def test_every_module_is_on_one_page_of_the_api():
    package = project_dir() / "askd"
    modules = {f"askd.{path.stem}" for path in package.glob("*.py") if not path.stem.startswith("__")} | {"askd.commands"}
    pages = "".join(path.read_text(encoding="utf-8") for path in (SITE / "api").glob("*.rst"))
    assert sorted(re.findall(r"automodule:: (askd\.\w+)$", pages, re.M)) == sorted(modules)


def test_what_is_broken_is_named(tmp_path):
    (tmp_path / "b.html").write_text("<h1 id='here'></h1>")
    (tmp_path / "a.html").write_text(
        "<a href='b.html#here'></a><a href='#'></a><a href='https://example.org/x'></a><img src='data:image/png;base64,AA'>"
        "<a href='c.html'></a><a href='b.html#there'></a><a href='../x.html'></a><a href='http:/x'></a>"
        "<script src='https://cdn.example.org/x.js'></script>"
    )
    (tmp_path / "x.css").write_text("a {background: url(//fonts.example.org/f.woff)} b {background: url(local.png)}")
    assert problems(tmp_path) == [
        "a.html: loads https://cdn.example.org/x.js", "a.html: c.html: no such file",
        "a.html: b.html#there: no such place on the page",
        "a.html: ../x.html: no such file", "a.html: http:/x: no address", "x.css: loads //fonts.example.org/f.woff",
    ]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built by the command of ``make site``."""
    folder = tmp_path_factory.mktemp("built") / "site"
    result = subprocess.run([sys.executable, str(SITE / "build.py"), str(folder)], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    assert str(folder) in result.stdout
    return folder


@pytest.mark.slow
def test_it_holds_the_course_and_the_search_finds_it(site):
    pages = {str(path.relative_to(site)) for path in site.rglob("*.html")}
    notebooks = {f"notebooks/{path.stem}.html" for path in (project_dir() / "notebooks").glob("*.ipynb")}
    assert len(notebooks) >= 8
    assert notebooks | {"index.html", "search.html", "site/api/objective.html", "data/README.html"} <= pages
    index = json.loads((site / "searchindex.js").read_text(encoding="utf-8").removeprefix("Search.setIndex(").rstrip(")"))
    found = {index["docnames"][i] for word in ("telephon", "spectrogram") for i in _pages(index["terms"].get(word))}
    assert "notebooks/00_quickstart" in found
    assert "<audio" in (site / "notebooks" / "00_quickstart.html").read_text(encoding="utf-8")
    assert "widget-view+json" not in "".join((site / page).read_text(encoding="utf-8") for page in notebooks)


def _pages(found: int | list[int] | None) -> list[int]:
    return [] if found is None else found if isinstance(found, list) else [found]


WIDE = """() => [...document.querySelectorAll('article *')]
    .filter(one => one.getBoundingClientRect().right > innerWidth + 1)
    .filter(one => { for (let up = one; up; up = up.parentElement) if (getComputedStyle(up).overflowX !== 'visible') return false;
                     return true; })
    .map(one => one.tagName + ' ' + one.textContent.slice(0, 40))"""  # what sticks out of the page and does not scroll


@pytest.fixture(scope="module")
def chromium():
    try:
        with browser() as chromium:
            yield chromium
    except BrowserUnavailable as error:
        pytest.skip(str(error))


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])
def test_it_looks_right_without_a_network(site, chromium, width):
    page = chromium.new_page(viewport={"width": width, "height": 900})
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    for name in ("index", "notebooks/00_quickstart", "notebooks/04_multi_domain_wer", "site/api/objective"):
        page.goto(f"{(site / name).as_uri()}.html")
        if name != "index":
            page.locator("mjx-container").first.wait_for()
            assert page.locator("mjx-merror").count() == 0, name
        assert page.evaluate("document.documentElement.scrollWidth") <= width and not page.evaluate(WIDE), name
        assert page.evaluate("[...document.images].every(one => one.complete && one.naturalWidth > 0)"), name
        picture(page, f"site-{Path(name).name}-{width}")
    assert not [address for address in asked if not address.startswith(("file:", "data:", "blob:"))]
    page.close()


@pytest.mark.slow
def test_one_can_search_it_and_hear_it(site, chromium):
    page = chromium.new_page()
    page.goto(f"{(site / 'search.html').as_uri()}?q=spectrogram")
    page.get_by_role("link", name="00 Quickstart").last.wait_for()
    page.goto((site / "notebooks" / "00_quickstart.html").as_uri())
    heard = page.locator("audio").first.evaluate(PLAYS)
    assert heard["error"] is None and heard["duration_s"] > 0.5 and heard["heard_s"] > 0
    page.close()
