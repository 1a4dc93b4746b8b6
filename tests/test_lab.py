"""JupyterLab in a real browser: the first notebook run to its end, its sound heard, a slider moved."""

import json
import os
import secrets
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from browser import PLAYS, BrowserUnavailable, browser, chromium, picture

from askd.files import project_dir

pytest.importorskip("playwright", reason="pip install -e '.[dev]'")
pytestmark = pytest.mark.slow

STATE = """() => {
    const panel = window.jupyterapp.shell.currentWidget;
    const cells = [...panel.content.model.cells].filter(cell => cell.type === 'code').map(cell => cell.toJSON());
    const outputs = cells.flatMap(cell => cell.outputs);
    return {
        cells: cells.length,
        run: cells.filter(cell => cell.execution_count).length,
        errors: outputs.filter(one => one.output_type === 'error').map(one => one.ename + ': ' + one.evalue),
        text: outputs.filter(one => one.name === 'stdout').map(one => [].concat(one.text).join('')).join(''),
        pictures: outputs.filter(one => one.data && 'image/png' in one.data).length,
        kernel: panel.sessionContext.session?.kernel?.status,
    };
}"""  # of the notebook in front
DONE = f"() => {{ const s = ({STATE})(); return s.kernel === 'idle' && (s.run === s.cells || s.errors.length > 0); }}"


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """Address of a running JupyterLab with its token, and the folder that it shows."""
    try:
        chromium()
    except BrowserUnavailable as error:
        pytest.skip(str(error))
    folder, token = tmp_path_factory.mktemp("lab"), secrets.token_hex(16)
    for name in ("runtime", "config", "workspaces", "notebooks"):
        (folder / name).mkdir()
    environment = os.environ | {
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"), "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"), "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    }
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--expose-app-in-browser", "--ServerApp.port=0",
        "--ServerApp.ip=127.0.0.1", f"--ServerApp.root_dir={folder / 'notebooks'}", f"--IdentityProvider.token={token}",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]
    with open(folder / "server.log", "w") as log:
        server = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
    try:
        yield f"{_address(server, folder)}lab/workspaces/{{0}}/tree/{{0}}.ipynb?token={token}", folder / "notebooks"
    finally:
        server.terminate()
        server.wait(20)


def _address(server: subprocess.Popen, folder: Path) -> str:
    for _ in range(300):
        for path in (folder / "runtime").glob("jpserver-*.json"):
            if text := path.read_text():
                return json.loads(text)["url"]
        if server.poll() is not None:
            break
        time.sleep(0.2)
    raise AssertionError((folder / "server.log").read_text())


@pytest.fixture
def page(lab):
    with browser() as chromium:
        page = chromium.new_page(viewport={"width": 1280, "height": 1000})
        page.set_default_timeout(60_000)
        yield page


def run_all(page, address: str, name: str, limit_s: float) -> dict:
    """Open a notebook, choose Run > Run All Cells, wait; what came of it."""
    page.goto(address.format(name))
    page.wait_for_function("() => window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'")
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    page.wait_for_function(DONE, timeout=1000 * limit_s)
    return page.evaluate(STATE)


def test_the_quickstart_runs_and_sounds(lab, page, tmp_path):
    address, folder = lab
    notebook = nbformat.read(project_dir() / "notebooks" / "00_quickstart.ipynb", as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
            cell.source = cell.source.replace('profile = "smoke"', f"profile = {str(tmp_path / 'smoke')!r}")
    nbformat.write(notebook, folder / "quickstart.ipynb")
    came = run_all(page, address, "quickstart", 240)
    assert not came["errors"] and came["run"] == came["cells"] > 8
    assert "37.8 million parameters" in came["text"] and came["pictures"] >= 2
    assert (tmp_path / "smoke" / "results" / "hypotheses" / "teacher.jsonl").is_file()

    players = page.locator("audio")
    assert players.count() >= 15  # a clip of each domain, real recordings where apt-get has them
    for player in (players.first, players.last):
        heard = player.evaluate(PLAYS)
        assert heard["error"] is None and 0.5 < heard["duration_s"] < 31 and heard["heard_s"] > 0
    players.nth(3).scroll_into_view_if_needed()
    page.wait_for_timeout(1000)  # the page is drawn where one looks
    picture(page, "lab-quickstart")


def test_a_slider_moves_what_it_drives(lab, page):
    pytest.importorskip("ipywidgets", reason="pip install -e '.[notebooks]'")
    address, folder = lab
    code = (
        "import ipywidgets\nfrom askd import METHODS\n\n"
        "@ipywidgets.interact(percent=ipywidgets.IntSlider(30, 0, 100))\n"
        'def weights(percent):\n    print(METHODS["askd"].weights(percent / 100))'
    )
    cells = [nbformat.v4.new_code_cell(code)]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), folder / "slider.ipynb")
    came = run_all(page, address, "slider", 60)
    assert not came["errors"]
    page.get_by_text("Weights(label=0.6, teacher=0.4").wait_for()
    handle = page.get_by_role("slider").first
    handle.focus()
    handle.press("ArrowLeft")
    page.get_by_text("Weights(label=0.58").wait_for()
    picture(page, "lab-slider")
