"""The head of every notebook: badges, the thread of the course, and an installation that Colab alone runs."""

import os
import shutil
import subprocess
import sys

import nbformat
import pytest

from askd import badges, colab
from askd.errors import AskdError
from askd.files import project_dir
from askd.reproduce import notebooks

ROOT = project_dir()


@pytest.mark.parametrize("path", notebooks(), ids=lambda p: p.stem)
def test_every_head_is_that_of_pyproject(path):
    cells = nbformat.read(path, as_version=4).cells
    for wanted, found in zip(badges.head_cells(path.stem, badges.repository()), cells[1:3], strict=True):
        assert (found.id, found.source) == (wanted.id, wanted.source), "run make badges"
        assert found.metadata.tags == wanted.metadata.tags
    assert cells[0].source.startswith(f"# {path.stem[:2]} ")
    assert next(i for i, c in enumerate(cells) if "parameters" in c.metadata.get("tags", [])) > 2
    assert path.stem in cells[1].source and all((path.parent / "badges" / f"{name}.svg").is_file() for name in badges.BADGES)


def test_the_thread_names_each_notebook_once():
    assert list(badges.LEFT_OPEN) == [path.stem for path in notebooks()]
    assert all(question.endswith("?") for question in list(badges.LEFT_OPEN.values())[1:])


def test_writing_twice_changes_nothing_and_another_address_only_the_head(tmp_path):
    path = tmp_path / notebooks()[1].name
    shutil.copy(notebooks()[1], path)
    badges.write_heads(path, badges.repository())
    before = nbformat.read(path, as_version=4)
    assert not badges.write_heads(path, badges.repository())
    assert badges.write_heads(path, "https://github.com/someone/their-askd")
    after = nbformat.read(path, as_version=4)
    assert len(after.cells) == len(before.cells) and after.cells[3:] == before.cells[3:] and after.cells[0] == before.cells[0]
    assert "colab.research.google.com/github/someone/their-askd/blob/main/notebooks/01_baseline_kd.ipynb" in after.cells[1].source
    assert '"https://github.com/someone/their-askd"' in after.cells[2].source and "OWNER" not in nbformat.writes(after)
    counts = [cell.execution_count for cell in after.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))


@pytest.mark.parametrize("address", ["https://example.org/a/b", "https://github.com/only", "git@github.com:a/b"])
def test_an_address_that_colab_cannot_open_is_refused(address, tmp_path, monkeypatch):
    (tmp_path / "pyproject.toml").write_text(f'[project]\n[project.urls]\nRepository = "{address}"\n', encoding="utf-8")
    monkeypatch.setattr(badges, "project_dir", lambda: tmp_path)
    with pytest.raises(AskdError, match="Repository must read"):
        badges.repository()


def test_the_install_cell_is_short_and_does_nothing_here(tmp_path):
    cell = badges.head_cells("00_quickstart", badges.repository())[1].source
    assert len(cell.splitlines()) <= 12
    code = f"import os, sys\nbefore = os.getcwd(), list(sys.path), dict(os.environ)\n{cell}\n" \
           "assert (os.getcwd(), sys.path, dict(os.environ)) == before\nassert 'subprocess' not in dir()"
    subprocess.run([sys.executable, "-I", "-c", code], cwd=tmp_path, check=True)


def test_what_colab_gets_is_pinned_and_spares_its_torch():
    names = {pin.split("==")[0] for pin in colab.requirements()}
    assert {"transformers", "hibari-tts", "ctranslate2", "datasets", "jiwer"} <= names
    assert not names & {*colab.KEPT, "pytest", "jupyterlab"} and all("==" in pin for pin in colab.requirements())


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="needs a git checkout to clone")
def test_the_install_cell_on_a_machine_that_looks_like_colab(tmp_path):
    """A clone of this checkout instead of GitHub, another folder than /content, and a pip that installs nothing new."""
    cell = badges.head_cells("00_quickstart", str(ROOT))[1].source.replace("/content", str(tmp_path))
    code = f"import sys, types\nsys.modules['google.colab'] = types.ModuleType('google.colab')\n{cell}\n" \
           "import askd\nprint(os.getcwd(), askd.__file__, os.environ['PYTHONPATH'], sep='\\n')"
    environment = os.environ | {"PIP_DRY_RUN": "1", "PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    environment.pop("PYTHONPATH", None)
    said = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True, capture_output=True, text=True)
    clone = tmp_path / "askd"
    assert said.stdout.split() == [str(clone / "notebooks"), str(clone / "askd" / "__init__.py"), str(clone)]
