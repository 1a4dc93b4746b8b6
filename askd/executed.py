"""Execute the notebooks with their own (smoke) defaults and keep the outputs in git: ``make notebooks``.

What would differ from one machine or minute to the next is removed: timings, papermill's records, the Python version.
"""

import base64
import io
import sys
from pathlib import Path

from askd.reproduce import NOTEBOOKS, notebooks, reproduce


def smaller(png: str) -> str:
    """A picture in base64 with a palette of 256 colours; as it was where that saves nothing."""
    from PIL import Image

    scratch = io.BytesIO()
    Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB").quantize(256).save(scratch, "PNG", optimize=True)
    found = base64.b64encode(scratch.getvalue()).decode()
    return min(found, png, key=len)


def tidy(notebook) -> None:
    """Drop volatile metadata from a notebook in place; outputs and execution counts stay."""
    notebook.metadata = {
        "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
        "language_info": {"name": "python"},
    }
    notebook.cells = [c for c in notebook.cells if "injected-parameters" not in c.metadata.get("tags", [])]
    count = 0
    for cell in notebook.cells:
        cell.metadata = {"tags": cell.metadata.tags} if cell.metadata.get("tags") else {}
        if cell.cell_type == "code":
            count += 1
            cell.execution_count = count
            for output in cell.outputs:
                if "image/png" in output.get("data", {}):
                    output.data["image/png"] = smaller(output.data["image/png"])
                if "execution_count" in output:
                    output.execution_count = count


def main() -> None:
    """Run the smoke profile, then copy the executed notebooks over their sources."""
    import nbformat

    folder = reproduce("smoke", fresh=True)
    for source in notebooks():
        executed = nbformat.read(folder / "notebooks" / source.name, as_version=4)
        tidy(executed)
        nbformat.write(executed, NOTEBOOKS / source.name)
        print(f"{source.name}: {Path(source).stat().st_size / 1000:.0f} kB", file=sys.stderr)


if __name__ == "__main__":
    main()
