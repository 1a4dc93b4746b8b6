"""``askd reproduce``: the notebooks of a profile, headless."""

import argparse

ABOUT = "run all notebooks of a profile, resuming where it stopped"
EXAMPLES = (
    "askd reproduce\n  askd reproduce --profile smoke\n  askd reproduce --profile real --audio-root corpora/\n"
    "  askd reproduce --profile cpu --fresh"
)


def add_arguments(p: argparse.ArgumentParser) -> None:
    """Options of the command."""
    p.add_argument("--profile", default="cpu", help="a file in notebooks/profiles (default: cpu)")
    p.add_argument("--fresh", action="store_true", help="run every notebook again, even those that are done")
    p.add_argument("--audio-root", help="folder with local copies of the public corpora (default: $ASKD_AUDIO_ROOT)")


def run(args: argparse.Namespace) -> None:
    """Carry out the command."""
    from askd.reproduce import reproduce

    reproduce(args.profile, args.fresh, args.audio_root)
