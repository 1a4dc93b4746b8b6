"""``python -m askd.colab``: what the notebooks need, into a Python that has a torch of its own; Google Colab's.

The first cell of each notebook clones the repository there and runs this. Colab's kernel has loaded torch and numpy before the
first cell runs, and its torch fits its GPU: packages of `KEPT` stay as they are, all others come at our pins.
"""

import re
import subprocess
import sys
import tomllib

from askd.files import project_dir

KEPT = ("torch", "numpy", "scipy", "matplotlib", "scikit-learn")  # what Colab's kernel holds in memory, and what is built on it
EXTRAS = ("speech", "hub", "export")  # Colab is the notebook server, and no tests are run there


def requirements() -> list[str]:
    """Pins of pyproject.toml that the notebooks need, without `KEPT`."""
    project = tomllib.loads((project_dir() / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pins = [*project["dependencies"], *(pin for extra in EXTRAS for pin in project["optional-dependencies"][extra])]
    return [pin for pin in dict.fromkeys(pins) if re.split(r"[\[=<>~! ]", pin)[0] not in KEPT]


if __name__ == "__main__":
    sys.exit(subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", *requirements()]).returncode)
