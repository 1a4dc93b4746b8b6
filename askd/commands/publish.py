"""``askd publish``: from a run to what the pages of the repository show."""

import argparse

ABOUT = "copy a run's results into data/results/, draw figures/ from them, and write its tables into the pages that show them"
EXAMPLES = "askd publish cpu\n  askd publish cpu --scores runs/cpu-seeds\n  askd publish latency     # after make latency"


def add_arguments(p: argparse.ArgumentParser) -> None:
    """Options of the command."""
    p.add_argument("profile", help="name of the run")
    p.add_argument("--scores", help="folder of askd score --out: several seeds of the run, scored together")


def run(args: argparse.Namespace) -> None:
    """Carry out the command."""
    from askd.publish import publish

    publish(args.profile, args.scores)
