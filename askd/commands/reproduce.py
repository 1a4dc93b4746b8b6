"""``askd reproduce``: the notebooks of a profile, headless."""

import argparse

ABOUT = "run all notebooks of a profile, resuming where it stopped"
EXAMPLES = (
    "askd reproduce\n  askd reproduce --profile smoke\n  askd reproduce --profile real --audio-root corpora/\n"
    "  askd reproduce --profile cpu --fresh\n"
    "  askd reproduce --profile cpu --seed 1         # another training seed, into runs/cpu-1; then\n"
    "  askd score runs/cpu runs/cpu-1 --out runs/cpu-seeds"
)


def add_arguments(p: argparse.ArgumentParser) -> None:
    """Options of the command."""
    p.add_argument("--profile", default="cpu", help="a file in notebooks/profiles (default: cpu)")
    p.add_argument("--fresh", action="store_true", help="run every notebook again, even those that are done")
    p.add_argument("--seed", type=int, help="another training seed than the profile's, into runs/PROFILE-SEED")
    p.add_argument("--audio-root", help="folder with local copies of the public corpora (default: $ASKD_AUDIO_ROOT)")


def run(args: argparse.Namespace) -> None:
    """Carry out the command."""
    from askd.reproduce import reproduce

    reproduce(args.profile, args.fresh, args.audio_root, seed=args.seed)
