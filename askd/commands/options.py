"""What several commands share: how a subcommand is added, and the options of all that load clips."""

import argparse
from collections.abc import Callable

from askd.errors import AskdError


def subcommands(
    parser: argparse.ArgumentParser, dest: str, examples: dict[str, str]
) -> Callable[[str, str], argparse.ArgumentParser]:
    """A function (name, about) that adds a subcommand with its examples; the chosen name ends up in ``dest``."""
    group = parser.add_subparsers(dest=dest, required=True, metavar=dest.upper())
    return lambda name, about: group.add_parser(
        name, help=about, description=about, epilog=f"examples:\n  {examples[name]}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def at_least_one(args: argparse.Namespace, *options: str) -> None:
    """Refuse numbers below one.

    Raises:
        AskdError: the option is named.
    """
    for option in options:
        if getattr(args, option) < 1:
            raise AskdError(f"--{option.replace('_', '-')} must be at least 1, not {getattr(args, option)}")


def add_source_options(parser: argparse.ArgumentParser) -> None:
    """Options of every command that loads clips."""
    parser.add_argument("--audio-root", help="folder with local copies of the public corpora (default: $ASKD_AUDIO_ROOT); "
                        "of a table of yours, where its relative paths start")
    parser.add_argument("--skip-bad", action="store_true", help="leave out what cannot be read, and count it")
    parser.add_argument("--layout", help="of your own folder, when several fit")
    parser.add_argument("--casing", choices=("as_is", "sentence"), help="sentence: transcripts in capitals become sentences")


def source_options(args: argparse.Namespace) -> dict:
    """The same options as `askd.load_clips` takes them."""
    return {name: getattr(args, name) for name in ("audio_root", "skip_bad", "layout", "casing")}
