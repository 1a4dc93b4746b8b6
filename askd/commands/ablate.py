"""``askd ablate``: the methods of one profile against each other, over several seeds."""

import argparse
import sys

from askd.commands.options import at_least_one
from askd.errors import AskdError

ABOUT = "train, transcribe and compare methods x seeds of a profile, going on where it stopped"
EXAMPLES = (
    "askd ablate --profile smoke --methods ce_only askd --seeds 0 1\n"
    "  askd ablate --profile cpu                              # eleven methods, seeds 0 1 2, into runs/cpu-ablation\n"
    "  askd ablate --profile gpu --methods all --seeds 0 1 2 3 4 --workers 4\n"
    "  askd ablate --profile real --audio-root corpora/\n"
    "  askd ablate --profile cpu --methods askd --set decoder_layers=2 --out runs/cpu-ablation-2layers\n"
    "  askd ablate --profile cpu --no-train --resamples 1000  # score again what is there"
)


def add_arguments(p: argparse.ArgumentParser) -> None:
    """Options of the command."""
    p.add_argument("--profile", default="cpu", help="a file in notebooks/profiles; its section ablation, if any, replaces "
                   "settings (default: cpu)")
    p.add_argument("--methods", nargs="+", metavar="METHOD", help="methods of askd/methods.py, or all (default: all but "
                   "finetuned_teacher, which takes about ten times as long as any other)")
    p.add_argument("--seeds", nargs="+", type=int, metavar="SEED", help="of training (default: 0 1 2)")
    p.add_argument("--workers", type=int, help="processes, each with a GPU or a share of the cores (default: one a GPU, or 1)")
    p.add_argument("--out", help="folder (default: runs/PROFILE-ablation)")
    p.add_argument("--audio-root", help="folder with local copies of the public corpora (default: $ASKD_AUDIO_ROOT)")
    p.add_argument("--resamples", type=int, default=10_000, help="of the bootstrap (default: 10000)")
    p.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE",
                   help="a field of askd.runs.Settings that replaces the profile's; needs --out")
    p.add_argument("--no-train", action="store_true", help="only score what is there")


def run(args: argparse.Namespace) -> int:
    """Carry out the command; 1 when some students could not be made."""
    import yaml

    from askd.ablation import JobsFailed, ablate
    from askd.ablationreport import ablation_sentences, ablation_table
    from askd.files import read_json
    from askd.notebook import table

    at_least_one(args, "resamples")
    if wrong := [item for item in args.set if "=" not in item]:
        raise AskdError(f"--set {wrong[0]}: write FIELD=VALUE, for example --set decoder_layers=2")
    changes = {field: yaml.safe_load(value) for field, value in (item.split("=", 1) for item in args.set)}
    try:
        folder = ablate(args.profile, args.methods, args.seeds, args.out, args.workers, args.audio_root, args.resamples,
                        not args.no_train, changes)
    except JobsFailed as error:
        print(f"askd ablate: {error}", file=sys.stderr)
        return 1
    ablation = read_json(folder / "results" / "ablation.json")
    print(table(*ablation_table(ablation)))
    print(f"macro WER %; in brackets 95 % intervals over utterances and {len(ablation['seeds'])} seed(s)")
    print("\n".join(["", *ablation_sentences(ablation)]))
    print(f"\nwritten: {folder}/results, {folder}/figures")
    return 0
