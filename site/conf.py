"""Sphinx: README, executed notebooks, data card and API as one static site. `site/build.py` runs it (``make site``).

The source directory is the repository, so that links between its files lead where they lead on a code host. Nothing is
executed and nothing is fetched, neither here nor by the pages: formulas are drawn by a MathJax that comes along.
"""

import re
import sys
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "site")]

from docstrings import as_rst  # noqa: E402

import askd  # noqa: E402

project, author, release = "ASKD", "the ASKD authors", askd.__version__
html_title = f"ASKD {release}"
html_theme = "furo"
html_static_path, html_css_files = ["static"], ["site.css"]
html_copy_source = html_show_sourcelink = False
html_show_copyright = False
html_theme_options = {"light_css_variables": {"color-brand-primary": "#0072b2", "color-brand-content": "#0072b2"}}

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax", "sphinx.ext.viewcode"]
root_doc = "README"
include_patterns = [
    "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/**.md", "notebooks/*.ipynb", "site/**.rst",
    "data/README.md", "data/results/**.md",
]
exclude_patterns = [".venv", ".git", "runs", "build", "askd", "tests", "**/.ipynb_checkpoints"]

nb_execution_mode = "off"
nb_merge_streams = True
nb_ipywidgets_js = {}  # they come from another host; the picture that stands beside a widget is shown in its place
nb_mime_priority_overrides = [("html", "application/vnd.jupyter.widget-view+json", None)]
myst_enable_extensions = ["dollarmath", "amsmath", "html_image"]
myst_dmath_double_inline = True
myst_heading_anchors = 4
suppress_warnings = ["myst.header", "myst.xref_ambiguous"]  # a README may begin with ## after #, and so on

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "ignore-module-all": True, "show-inheritance": True}
default_role = "py:obj"  # `name` in docstrings is a name of Python
napoleon_numpy_docstring = False
napoleon_use_rtype = False
python_maximum_signature_line_length = 88
viewcode_line_numbers = True
mathjax_path = "mathjax/tex-chtml-full.js"

CHAPTERS = {
    "The course": ["notebooks/*"],
    "Reference": ["site/api", "data/README"],
    "Results": ["docs/*", "data/results/*"],
    "The project": ["CONTRIBUTING", "CHANGELOG"],
}


def contents() -> str:
    """The table of contents, in MyST: which documents there are, under which heading."""
    blocks = []
    for caption, patterns in CHAPTERS.items():
        here = [p for p in patterns if any(ROOT.glob(f"{p}.*"))]
        if here:
            blocks.append("\n".join(["", "```{toctree}", ":hidden:", ":glob:", f":caption: {caption}", "", *here, "```", ""]))
    return "\n".join(blocks)


def read(app, docname: str, source: list[str]) -> None:
    """What a code host does with a file and Sphinx does not: badges are remote pictures, and a link may lead to a folder."""
    text = re.sub(r"!\[([^\]]*)\]\(https?://[^)]*\)", r"\1", source[0])
    here = ROOT / Path(docname).parent
    text = re.sub(r"\[([^\]]+)\]\((?!https?:|#)([^)#\s]+)\)", lambda m: m[1] if (here / m[2]).is_dir() else m[0], text)
    source[0] = text + contents() if docname == root_doc else text


def docstring(app, what: str, name: str, obj, options, lines: list[str]) -> None:
    lines[:] = as_rst(obj.__doc__.splitlines() if what == "module" else lines)  # autodoc would take a lone block's indent away


def copy_mathjax(app, exception) -> None:
    """MathJax's one script and its fonts; the rest of the package is speech and other formats."""
    from sphinx.util.fileutil import copy_asset

    packed = Path(find_spec("sphinx-mathjax-offline").submodule_search_locations[0]) / "static" / "mathjax"
    for part in (Path("tex-chtml-full.js"), Path("output", "chtml", "fonts", "woff-v2")):
        if exception is None:
            target = Path(app.outdir) / "_static" / "mathjax" / part
            copy_asset(packed / part, target if (packed / part).is_dir() else target.parent)


def setup(app) -> None:
    app.connect("source-read", read)
    app.connect("autodoc-process-docstring", docstring, priority=400)  # before napoleon
    app.connect("build-finished", copy_mathjax)
