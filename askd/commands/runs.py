"""``askd runs`` and ``askd runs compare``: what was trained, how far it is, and what makes runs differ."""

import argparse
import json
import sys
from pathlib import Path

from askd.errors import AskdError, RunError

ABOUT = "list training runs, or set some side by side"
EXAMPLES = (
    "askd runs                                              # all training runs below runs/\n"
    "  askd runs runs/mine other/place --json\n"
    "  askd runs compare runs/cpu/students/askd runs/cpu/students/ce_only"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``askd runs``."""
    parser.add_argument(
        "folders", nargs="*", metavar="FOLDER",
        help="where to look (default: runs/); after the word compare: runs to set side by side (a folder so named: ./compare)",
    )
    parser.add_argument("--json", action="store_true", help="everything that is known about each run, as JSON")


def run(args: argparse.Namespace) -> int | None:
    """List the runs, or compare them; runs that cannot be read are named on stderr."""
    from askd.files import project_dir
    from askd.runlist import by_time, comparison, describe, find_runs, table, warnings

    if args.folders[:1] == ["compare"]:
        runs = [describe(folder) for folder in args.folders[1:]]
        if len(runs) < 2:
            raise AskdError("compare needs two run folders or more: askd runs compare A B")
        print(json.dumps({"warnings": warnings(runs), "runs": runs}, indent=1) if args.json else comparison(runs))
        return None
    runs = []
    for folder in find_runs(args.folders or ["runs" if Path("runs").is_dir() else project_dir() / "runs"]):
        try:
            runs.append(describe(folder))
        except RunError as error:
            print(f"left out: {error}", file=sys.stderr)
    print(json.dumps(by_time(runs), indent=1) if args.json else table(runs))
    return None
