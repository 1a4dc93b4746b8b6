"""Do the tests pass with other versions than the pinned ones? Older and newer packages, laid over the environment one at a time.

    python tests/floors.py                   # every entry: make floor-test
    python tests/floors.py numpy jiwer       # those of some packages
    python tests/floors.py numpy --write     # and their rows into the table of tests/README.md

Each overlay is a folder of its own, made by pip without dependencies and put before the environment on the path; the environment
stays as it is, and torch is never replaced. The tests are those that ask most of the package. An entry that is known not to work
must not work: it shows where the floor is.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "tests" / "README.md"
BEGIN, END = "<!-- floors -->", "<!-- /floors -->"
NUMBERS = ("test_intervals.py", "test_scoring.py", "test_calibration.py", "test_blindspots.py", "test_features.py")
SOUND = ("test_audio.py", "test_channels.py")
LEARNING = ("test_training.py::test_objective_is_the_weighted_sum",
            "test_training.py::test_accumulation_does_not_change_the_result",
            "test_training.py::test_every_method_trains_and_leaves_a_plain_whisper[askd]")
WHISPER = ("test_student.py", "test_teacher.py", "test_features.py", "test_chunks.py", *LEARNING)
CT2 = ("test_export.py::test_faster_whisper_writes_our_words", "test_export.py::test_ctranslate2_hears_the_clips_own_length",
       "test_export.py::test_weights_are_stored_as_asked", "test_export.py::test_a_conversion_of_another_model_is_found_out")


@dataclass(frozen=True)
class Overlay:
    """Packages that are tried together, and what must hold with them."""

    packages: tuple[str, ...]
    tests: tuple[str, ...]
    works: bool = True

    @property
    def name(self) -> str:
        """The package in question, without its version."""
        return self.packages[0].split("==")[0]


OVERLAYS = (
    Overlay(("transformers==5.20.2",), WHISPER),
    Overlay(("transformers==5.10.1", "tokenizers==0.22.2", "huggingface-hub==1.33.0"), WHISPER),
    Overlay(("transformers==5.0.0", "tokenizers==0.22.2", "huggingface-hub==1.33.0"), WHISPER, works=False),
    Overlay(("numpy==2.2.6",), NUMBERS),
    Overlay(("numpy==2.0.2",), NUMBERS),
    Overlay(("scipy==1.15.3",), NUMBERS),
    Overlay(("scikit-learn==1.6.1",), ("test_calibration.py",)),
    Overlay(("jiwer==3.1.0",), ("test_scoring.py", "test_blindspots.py", "test_hallucination.py"), works=False),
    Overlay(("accelerate==1.10.1",), LEARNING),
    Overlay(("accelerate==1.1.1",), LEARNING),
    Overlay(("ctranslate2==4.6.3",), CT2, works=False),
    Overlay(("ctranslate2==4.5.0",), CT2, works=False),
    Overlay(("faster-whisper==1.1.1",), CT2),
    Overlay(("datasets==5.0.0",), ("test_hub.py",)),
    Overlay(("datasets==4.4.2",), ("test_hub.py",)),
    Overlay(("soundfile==0.12.1",), SOUND),
    Overlay(("soxr==1.1.0",), SOUND),
)


@dataclass(frozen=True)
class Found:
    """What the tests said."""

    passed: int
    failed: int
    message: str  # of the first failure
    seconds: float


def tried(overlay: Overlay) -> Found:
    """Install an overlay into a folder of its own and run its tests with it."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="floors-") as folder:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--target", folder]
        done = subprocess.run([*pip, *overlay.packages], capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode:
            return Found(0, 1, done.stderr.strip().splitlines()[-1], time.monotonic() - start)
        environment = os.environ | {
            "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}", "TQDM_DISABLE": "1", "MPLBACKEND": "agg", "HF_HUB_OFFLINE": "1",
            "TRANSFORMERS_VERBOSITY": "error", "PYTHONWARNINGS": "ignore", "TOKENIZERS_PARALLELISM": "false",
        }
        report = Path(folder) / "report.xml"
        tests = [f"tests/{test}" for test in overlay.tests]
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", *tests]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if not report.exists():
            return Found(0, 1, (done.stderr or done.stdout).strip().splitlines()[-1], time.monotonic() - start)
        suite = ET.parse(report).getroot().find("testsuite")
    broken = [*suite.iter("failure"), *suite.iter("error")]
    count = int(suite.get("tests")) - int(suite.get("skipped")) - len(broken)
    return Found(count, len(broken), broken[0].get("message").splitlines()[0] if broken else "", time.monotonic() - start)


def pinned(name: str) -> str:
    """The version of a package in pyproject.toml; of others that come with them, the one installed."""
    from importlib.metadata import version

    found = re.search(rf'"{name}==([^"]+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return found[1] if found else version(name)


def row(overlay: Overlay, found: Found) -> str:
    """A line of the table."""
    verdict = f"{found.passed} tests pass" if not found.failed else f"{found.failed} of {found.failed + found.passed} fail"
    message = re.sub(r"/\S*/", "", found.message)[:110].replace("|", "\\|").replace("`", "'")
    return f"| {', '.join(overlay.packages)} | {pinned(overlay.name)} | {verdict}{f': `{message}`' if message else ''} |"


def write_rows(rows: dict[str, str]) -> None:
    """Put rows into the table of tests/README.md, by their first cell; others stay while they are in `OVERLAYS`."""
    text = README.read_text(encoding="utf-8")
    head, rest = text.split(BEGIN)
    old, rest = rest.split(END)
    known = {line.split("|")[1].strip(): line for line in old.splitlines() if line.startswith("| ")} | rows
    table = [known[cell] for cell in (", ".join(overlay.packages) for overlay in OVERLAYS) if cell in known]
    table = "\n".join(["| with | pinned | what the tests say |", "|---|---|---|", *table])
    README.write_text(f"{head}{BEGIN}\n{table}\n{END}{rest}", encoding="utf-8")


def main() -> int:
    """0 when what should work does, and what should not does not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="packages; default all")
    parser.add_argument("--write", action="store_true", help="put their rows into the table of tests/README.md")
    asked = parser.parse_args()
    chosen = [o for o in OVERLAYS if not asked.names or o.name in asked.names]
    if not chosen:
        parser.error(f"no such package: known are {', '.join(sorted({o.name for o in OVERLAYS}))}")
    start, rows, surprises = time.monotonic(), [], []
    for i, overlay in enumerate(chosen, 1):
        found = tried(overlay)
        rows.append(row(overlay, found))
        if bool(found.failed) == overlay.works:
            surprises.append(", ".join(overlay.packages))
        left = (time.monotonic() - start) / i * (len(chosen) - i)
        print(f"[{i}/{len(chosen)}] {found.seconds:4.0f} s, {left / 60:.0f} min left  {rows[-1]}", flush=True)
    if asked.write:
        write_rows({", ".join(overlay.packages): line for overlay, line in zip(chosen, rows, strict=True)})
    if surprises:
        print(f"not as expected: {'; '.join(surprises)}")
    return int(bool(surprises))


if __name__ == "__main__":
    sys.exit(main())
