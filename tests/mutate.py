"""Do the tests notice a regression? Put one into a copy of the repository and see the named test fail.

    python tests/mutate.py                        # every entry of mutations.yaml: make mutations
    python tests/mutate.py kl_sign chunk_share    # some of them
    python tests/mutate.py --table                # write the list into tests/README.md

First the named tests must pass on an unchanged copy. Then each mutation is applied to it alone, and its test must fail by an
assertion of its own: an import that breaks or a test that is not found is no catch. The copy has a cache of its own, so that a
mutated teacher's answers stay there. Nothing is written into the repository.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from askd.errors import pick
from askd.files import cache_dir

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "tests" / "README.md"
BEGIN, END = "<!-- mutations -->", "<!-- /mutations -->"
OWN = ("features", "targets", "datasets")  # parts of the cache that a mutation could spoil
ASSERTION = re.compile(r"AssertionError|assert |Failed: ")  # how an assertion's message begins
QUIET = {
    "TQDM_DISABLE": "1", "MPLBACKEND": "agg", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error",
    "PYTHONWARNINGS": "ignore", "TOKENIZERS_PARALLELISM": "false",
    "PYTHONDONTWRITEBYTECODE": "1",  # two versions of a file may be made within a second
}
NBVAL = ("-c", "/dev/null", "--rootdir", ".", "--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout", "300")


@dataclass(frozen=True)
class Mutation:
    """One deliberate regression."""

    name: str
    file: str
    old: str  # stands once in the file
    new: str
    why: str
    caught_by: str  # a test's id, or a notebook

    def applied(self, text: str) -> str:
        """The file's text with the regression.

        Raises:
            ValueError: ``old`` does not stand there exactly once.
        """
        if (count := text.count(self.old)) != 1:
            raise ValueError(f"{self.name}: {count} places of {self.file} read {self.old!r}, one was expected")
        return text.replace(self.old, self.new)


@dataclass(frozen=True)
class Outcome:
    """What a test said."""

    code: int  # pytest's: 0 passed, 1 failed, others broken
    message: str  # of the first failure
    asserted: bool  # it was an assertion
    seconds: float


def mutations() -> dict[str, Mutation]:
    """Every entry of mutations.yaml by name."""
    entries = yaml.safe_load((ROOT / "tests" / "mutations.yaml").read_text(encoding="utf-8"))
    return {name: Mutation(name, **entry) for name, entry in entries.items()}


def copied(folder: Path) -> Path:
    """A copy of the repository without its history, environment and runs."""
    ignored = shutil.ignore_patterns(".git", ".venv", "runs", "__pycache__", ".pytest_cache", ".ruff_cache", ".hypothesis")
    return Path(shutil.copytree(ROOT, folder / "repository", ignore=ignored))


def own_cache(folder: Path) -> Path:
    """The cache as it is, but what is written to it stays in ``folder``."""
    made = folder / "cache"
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir()
    for part in cache_dir().iterdir():
        if part.name == "speech":  # files appear by rename: a link keeps the old one
            shutil.copytree(part, made / part.name, copy_function=_linked)
        elif part.name not in OWN:
            (made / part.name).symlink_to(part)
    return made


def _linked(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # on another disk
        shutil.copy2(source, target)


def run(copy: Path, tests: Sequence[str]) -> Outcome:
    """Run tests, or notebooks, in the copy."""
    start, report = time.monotonic(), copy.parent / "report.xml"
    report.unlink(missing_ok=True)
    notebooks = NBVAL if tests[0].endswith(".ipynb") else ()
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", f"--junitxml={report}", *notebooks, *tests]
    environment = os.environ | QUIET | {"PYTHONPATH": str(copy), "ASKD_CACHE": str(own_cache(copy.parent))}
    done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    failure = next(ET.parse(report).iter("failure"), None) if report.exists() else None
    told = (done.stdout + done.stderr).strip().splitlines()[-1] if failure is None else failure.get("message").splitlines()[0]
    asserted = failure is not None and (bool(notebooks) or bool(ASSERTION.match(told)))
    return Outcome(done.returncode, told, asserted, time.monotonic() - start)


def attempt(copy: Path, mutation: Mutation) -> Outcome:
    """Apply one mutation to the copy, run its test, take it back."""
    path = copy / mutation.file
    before = path.read_text(encoding="utf-8")
    path.write_text(mutation.applied(before), encoding="utf-8")
    try:
        return run(copy, [mutation.caught_by])
    finally:
        path.write_text(before, encoding="utf-8")


def table() -> str:
    """The list as Markdown."""
    rows = ["| regression | in | why it matters | caught by |", "|---|---|---|---|"]
    for mutation in mutations().values():
        test = mutation.caught_by.removeprefix("tests/").replace("|", "\\|")
        rows.append(f"| {mutation.name.replace('_', ' ')} | `{mutation.file}` | {mutation.why} | `{test}` |")
    return "\n".join(rows)


def write_table() -> None:
    """Put the list between its marks in tests/README.md."""
    text = README.read_text(encoding="utf-8")
    head, rest = text.split(BEGIN)
    README.write_text(f"{head}{BEGIN}\n{table()}\n{END}{rest.split(END)[1]}", encoding="utf-8")


def main() -> int:
    """0 when every mutation was caught."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="entries of mutations.yaml; default all")
    parser.add_argument("--table", action="store_true", help="write the list into tests/README.md and do no more")
    asked = parser.parse_args()
    if asked.table:
        write_table()
        return 0
    known = mutations()
    chosen = [pick("mutation", name, known) for name in asked.names] or list(known.values())
    with tempfile.TemporaryDirectory(prefix="mutate-") as folder:
        copy = copied(Path(folder))
        tests = list(dict.fromkeys(mutation.caught_by for mutation in chosen))
        print(f"{len(tests)} tests on an unchanged copy", flush=True)
        for kind in ([t for t in tests if not t.endswith(".ipynb")], [t for t in tests if t.endswith(".ipynb")]):
            if kind and (found := run(copy, kind)).code != 0:
                print(f"they do not pass there: {found.message}")
                return 2
        start, survived = time.monotonic(), []
        for i, mutation in enumerate(chosen, 1):
            found = attempt(copy, mutation)
            caught = found.code == 1 and found.asserted
            survived += [] if caught else [mutation.name]
            left = (time.monotonic() - start) / i * (len(chosen) - i)
            verdict = "caught" if caught else "SURVIVED" if found.code == 0 else f"BROKE (pytest {found.code})"
            print(f"[{i}/{len(chosen)}] {verdict:8} {mutation.name:36} {found.seconds:4.0f} s, {left / 60:.0f} min left: "
                  f"{found.message[:100]}", flush=True)
    print(f"caught {len(chosen) - len(survived)} of {len(chosen)}" + f"; not {', '.join(survived)}" * bool(survived))
    return int(bool(survived))


if __name__ == "__main__":
    sys.exit(main())
