"""``make badges``: the two cells below the title of every notebook, written from ``[project.urls] Repository`` of pyproject.toml.

    python -m askd.badges          # (re)writes notebooks/*.ipynb and notebooks/badges/*.svg; a second time changes nothing

The first holds links that open the notebook in Google Colab and on Binder, and where in the course we are: what the notebook
before left open. The second installs the project on Colab and does nothing anywhere else. Both names and places of the cells are
fixed, so they are found again. Whoever forks the project changes the one line in pyproject.toml.
"""

import re
import sys
import tomllib
from pathlib import Path

from askd.errors import AskdError
from askd.files import project_dir, replacing
from askd.reproduce import NOTEBOOKS, notebooks

BRANCH = "main"
LEFT_OPEN = {  # notebook -> the question that the one before it left open
    "00_quickstart": "",
    "01_baseline_kd":
        "The teacher has blind spots, and KL asks a student to agree with it everywhere. Does plain distillation hand them on?",
    "02_decay_curriculum":
        "The teacher's errors come along with its knowledge. Can a student have the one without the other, by listening less?",
    "03_self_kd":
        "The teacher has fallen silent and only hard labels are left. What keeps the student from trusting them too much?",
    "04_multi_domain_wer":
        "Five students, and so far only losses to judge them by. Which of them writes fewer wrong words, where, and can we tell?",
    "05_latency":
        "We know what each student gets wrong. It was meant to be fast: how much faster is it, and why?",
    "06_hallucination_and_calibration":
        "Errors and milliseconds are counted. What does a model say when nobody speaks, and does it know when it is wrong?",
    "07_your_own_domain":
        "All of this was our speech and our test clips. What about yours?",
}
INSTALL = '''import sys

if "google.colab" in sys.modules:  # on Colab alone; anywhere else this cell does nothing
    import os
    import subprocess

    if not os.path.isdir("/content/askd"):
        subprocess.run(["git", "clone", "--depth=1", "{repository}", "/content/askd"], check=True)
    os.environ["PYTHONPATH"] = "/content/askd"
    sys.path.insert(0, "/content/askd")
    subprocess.run([sys.executable, "-m", "askd.colab"], check=True)  # Colab's own torch stays
    os.chdir("/content/askd/notebooks")'''
SVG = '''<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="20" role="img" aria-label="{text}">
<rect width="{width}" height="20" rx="3" fill="#555555"/><path d="M6 4 L18 10 L6 16 Z" fill="{colour}"/>
<text x="24" y="14" fill="#FFFFFF" font-family="DejaVu Sans,Verdana,sans-serif" font-size="11">{text}</text>
</svg>
'''
BADGES = {"colab": ("Open in Colab", "#E69F00"), "binder": ("Open on Binder", "#56B4E9")}


def repository() -> str:
    """Where the project is published, ``https://github.com/OWNER/NAME``.

    Raises:
        AskdError: Colab and Binder could not open it.
    """
    urls = tomllib.loads((project_dir() / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]
    address = urls["Repository"].removesuffix("/").removesuffix(".git")
    if not re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+", address):
        raise AskdError(f"pyproject.toml, [project.urls] Repository must read https://github.com/OWNER/NAME, not {address}")
    return address


def links(notebook: str, address: str) -> dict[str, str]:
    """Addresses that open a notebook (its name without the ending) elsewhere, by badge."""
    owner_and_name = address.removeprefix("https://github.com/")
    return {
        "colab": f"https://colab.research.google.com/github/{owner_and_name}/blob/{BRANCH}/notebooks/{notebook}.ipynb",
        "binder": f"https://mybinder.org/v2/gh/{owner_and_name}/{BRANCH}?urlpath=lab/tree/notebooks/{notebook}.ipynb",
    }


def head_cells(notebook: str, address: str) -> list:
    """The two cells that follow a notebook's title: badges with the thread of the course, and the guarded installation."""
    from nbformat.v4 import new_code_cell, new_markdown_cell

    shown = " ".join(f"[![{BADGES[name][0]}](badges/{name}.svg)]({link})" for name, link in links(notebook, address).items())
    names, number = list(LEFT_OPEN), list(LEFT_OPEN).index(notebook)
    where = f"**Notebook {number + 1} of {len(names)}.**"
    if number:
        before = names[number - 1]
        where += f" Left open by [{before[:2]}]({before}.ipynb): *{LEFT_OPEN[notebook]}*"
    tags = {"tags": ["course"]}  # no part of the report that `askd distill` makes of notebook 07
    return [new_markdown_cell(f"{shown}\n\n{where}", id="badges", metadata=tags),
            new_code_cell(INSTALL.format(repository=address), id="colab", metadata=tags)]


def write_heads(path: Path, address: str) -> bool:
    """Put the head cells of one notebook below its title, in place of older ones; whether anything changed."""
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    cells = [cell for cell in notebook.cells if cell.id not in ("badges", "colab")]
    head = head_cells(path.stem, address)
    kept = {cell.id: cell for cell in notebook.cells if cell.cell_type == "code"}
    if "colab" in kept and kept["colab"].source == head[1].source:
        head[1] = kept["colab"]
    before, notebook.cells = nbformat.writes(notebook), [cells[0], *head, *cells[1:]]
    for count, cell in enumerate((cell for cell in notebook.cells if cell.cell_type == "code"), start=1):
        cell.execution_count = count
        for output in cell.outputs:
            if "execution_count" in output:
                output.execution_count = count
    after = nbformat.writes(notebook)
    if after != before:
        with replacing(path) as scratch:
            scratch.write_text(after + "\n", encoding="utf-8")
    return after != before


def main() -> None:
    """Write all heads and both badges, and say which notebooks changed."""
    address = repository()
    for name, (text, colour) in BADGES.items():
        with replacing(NOTEBOOKS / "badges" / f"{name}.svg") as scratch:
            scratch.write_text(SVG.format(width=32 + round(6.6 * len(text)), text=text, colour=colour), encoding="utf-8")
    changed = [path.name for path in notebooks() if write_heads(path, address)]
    print(f"{address}: {', '.join(changed) or 'nothing changed'}", file=sys.stderr)


if __name__ == "__main__":
    main()
