"""``DIR/report.html``: notebook 07 executed on a finished ``askd distill`` folder, its code hidden.

The notebook makes the same calls as the command and finds everything done, so it takes seconds. Cells tagged ``course``
(the demo, the exercises) stay out of the report; ``DIR/report.ipynb`` holds all of it, code included. The page embeds players
and transcripts of some recordings: whoever gets it can hear them. It names no folders of this machine; report.ipynb does.
"""

import gc
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from askd.errors import AskdError
from askd.files import cache_dir, project_dir, read_json, replacing
from askd.outcome import in_words
from askd.plan import Asked

NOTEBOOK = "07_your_own_domain.ipynb"
OF_THE_COURSE = "course"  # tag of cells that are no part of a report


def write_report(asked: Asked, out: Path | str, exports: Sequence[str] = ("hf", "ct2")) -> Path | None:
    """Execute the notebook on ``out`` and write its HTML; None, with the reason printed, where that cannot be done.

    Args:
        asked: what `askd.distill.distill` was asked, paths absolute.
        out: its run folder.
        exports: what it exported.

    Raises:
        AskdError: the notebook failed; the message says why and where to look.
    """
    notebook = project_dir() / "notebooks" / NOTEBOOK
    if not notebook.is_file():
        print(f"no report: {NOTEBOOK} lies in the repository, not in the installed package; clone it and run the command there")
        return None
    try:
        import nbformat
        import papermill
        from nbconvert import HTMLExporter
        from nbconvert.preprocessors import TagRemovePreprocessor
    except ImportError as error:
        print(f"no report: {error.name} is not installed; pip install 'askd[notebooks]', then the same command again")
        return None
    _free_gpu()
    out = Path(out).resolve()
    more = {name: value for name, value in asdict(asked).items() if name not in ("teacher", "data", "hours", "epochs")}
    parameters = {
        "profile": out.name, "teacher_name": asked.teacher, "data": list(asked.data), "out": str(out), "hours": asked.hours,
        "epochs": asked.epochs, "options": more, "exports": list(exports),
    }
    executed = out / "report.ipynb"
    try:
        papermill.execute_notebook(
            str(notebook), str(executed), parameters=parameters, kernel_name="python3", progress_bar=False, cwd=str(out),
        )
    except papermill.PapermillExecutionError as error:
        raise AskdError(f"the report failed: {error.ename}: {error.evalue}\nopen {executed} to see where; the student is "
                        "whole, and --no-report leaves the report out") from None
    exporter = HTMLExporter(exclude_input=True, exclude_input_prompt=True, exclude_output_prompt=True)
    tags = {OF_THE_COURSE, "parameters", "injected-parameters"}
    exporter.register_preprocessor(TagRemovePreprocessor(remove_cell_tags=tags), enabled=True)
    page = nbformat.read(executed, as_version=4)
    for cell in page.cells:
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr"]  # bars and warnings
            for output in cell.outputs:
                texts = output if output.output_type == "stream" else output.get("data", {})
                for kind in {"text", "text/plain"} & texts.keys():
                    texts[kind] = _without_folders(texts[kind], asked, out)
    teacher = Path(asked.teacher).name if Path(asked.teacher).exists() else asked.teacher
    came_out = in_words(read_json(out / "results" / "summary.json")).replace("\n", "\n- ")
    page.cells.insert(0, nbformat.v4.new_markdown_cell(f"# {out.name}: a student of {teacher}\n\n- {came_out}"))
    text, _ = exporter.from_notebook_node(page, {"metadata": {"name": f"askd: {out.name}"}})
    with replacing(out / "report.html") as scratch:
        scratch.write_text(text, encoding="utf-8")
    return out / "report.html"


def _free_gpu() -> None:
    """The notebook runs in another process, which needs the memory that this one still holds."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _without_folders(text: str, asked: Asked, out: Path) -> str:
    """A text of the notebook with the names of files and folders, but not where on this machine they lie."""
    named = [out, *(Path(name.removeprefix("hub:").partition("?")[0]) for name in (asked.teacher, *asked.data))]
    places = {path.parent for path in named if path.is_absolute()} | {Path.home(), cache_dir(), Path(asked.audio_root or "/")}
    for place in sorted(places - {Path("/")}, key=lambda path: -len(str(path))):
        text = text.replace(f"{place}/", "")
    return text
