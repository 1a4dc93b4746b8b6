"""Execute the notebooks with their own (smoke) defaults and keep the outputs in git: ``make notebooks``.

What would differ from one machine or minute to the next is removed: timings, papermill's records, the Python version.
"""

import sys
from pathlib import Path

from askd.reproduce import NOTEBOOKS, notebooks, reproduce


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
