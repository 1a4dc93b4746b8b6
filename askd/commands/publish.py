"""``askd publish``: from a run to what the README shows."""

import argparse

ABOUT = "copy a run's figures and results into figures/, data/results/ and the README's table"
EXAMPLES = "askd publish cpu"


def add_arguments(p: argparse.ArgumentParser) -> None:
    """Options of the command."""
    p.add_argument("profile", help="name of the run")


def run(args: argparse.Namespace) -> None:
    """Carry out the command."""
    from askd.publish import publish

    publish(args.profile)
