"""``askd compare``: two models on the same utterances, from their hypotheses."""

import argparse
import contextlib
import json
import sys

from askd.errors import AskdError

ABOUT = "compare two models on the same utterances: differences with intervals, and what changed most"
EXAMPLES = (
    "askd compare runs/cpu:askd runs/cpu:teacher\n"
    "  askd compare scores-of-mine/ scores-of-the-teacher/ --changed 20\n"
    "  askd compare mine.jsonl theirs.jsonl --domain neural_clean --json"
)
RESUMES = False


def add_arguments(p: argparse.ArgumentParser) -> None:
    """Options of the command."""
    for name in ("a", "b"):
        p.add_argument(name, metavar=name.upper(),
                       help="hypotheses: a JSONL file, a folder of askd evaluate, a run folder, or RUN:MODEL")
    p.add_argument("--domain", nargs="+", metavar="NAME", help="of these domains alone (default: all)")
    p.add_argument("--changed", type=int, default=10, metavar="N", help="utterances to show of each direction (default: 10)")
    p.add_argument("--resamples", type=int, default=10_000, metavar="R", help="of the bootstrap (default: 10000)")
    p.add_argument("--seed", type=int, default=0, help="of the bootstrap (default: 0)")
    p.add_argument("--partial", action="store_true", help="of a file that was cut while it was written, use the whole lines")
    p.add_argument("--json", action="store_true", help="everything as JSON")


def run(args: argparse.Namespace) -> None:
    """Carry out the command."""
    from askd.compare import as_text, compare, hypotheses_file
    from askd.errors import UnknownName
    from askd.rows import read_rows

    for name, least in (("changed", 0), ("resamples", 1), ("seed", 0)):
        if getattr(args, name) < least:
            raise AskdError(f"--{name} must be at least {least}, not {getattr(args, name)}")
    files = [hypotheses_file(name) for name in (args.a, args.b)]
    with contextlib.redirect_stdout(sys.stderr):  # what it says of cut files is no JSON
        rows = [read_rows(file, args.partial) for file in files]
    if args.domain:
        there = {row["domain"] for part in rows for row in part}
        for name in args.domain:
            if name not in there:
                raise UnknownName("domain", name, there)
        rows = [[row for row in part if row["domain"] in args.domain] for part in rows]
    names = [file.stem for file in files]
    if names[0] == names[1]:
        names = [args.a, args.b]
    found = compare(*rows, args.resamples, args.seed)
    if args.json:
        found["changed"] = {direction: utterances[: args.changed] for direction, utterances in found["changed"].items()}
        print(json.dumps(dict(zip("ab", names, strict=True)) | found, indent=1, ensure_ascii=False))
    else:
        print(as_text(found, *names, args.changed))
