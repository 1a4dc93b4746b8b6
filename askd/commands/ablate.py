"""``askd ablate``: the methods of one profile against each other, over several seeds."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

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
    p.add_argument("--seeds", nargs="+", type=int, metavar="SEED", help="of training (default: 0 1 2); "
                   "where the profile sets clips_seed, a seed changes order and padding of the same clips")
    p.add_argument("--workers", type=int, help="processes, each with a GPU or a share of the cores (default: one a GPU, or 1)")
    p.add_argument("--out", help="folder (default: runs/PROFILE-ablation)")
    p.add_argument("--audio-root", help="folder with local copies of the public corpora (default: $ASKD_AUDIO_ROOT)")
    p.add_argument("--resamples", type=int, default=10_000, help="of the bootstrap (default: 10000)")
    p.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE",
                   help="a field of askd.runs.Settings that replaces the profile's, as YAML; training={...} replaces what it "
                   "names; needs --out")
    p.add_argument("--no-train", action="store_true", help="only score what is there")


def run(args: argparse.Namespace) -> int:
    """Carry out the command; 1 when some students could not be made."""
    from askd.ablation import JobsFailed, ablate

    at_least_one(args, "resamples")
    changes = _changes(args.set)
    try:
        folder = ablate(args.profile, args.methods, args.seeds, args.out, args.workers, args.audio_root, args.resamples,
                        not args.no_train, changes)
    except JobsFailed as error:
        if error.folder:
            _show(error.folder)
        print(f"askd ablate: {error}", file=sys.stderr)
        return 1
    _show(folder)
    return 0


def _changes(items: Sequence[str]) -> dict:
    """Settings by name, of FIELD=VALUE as YAML.

    Raises:
        AskdError: no ``=``, a field twice, or a value that is no YAML.
    """
    import yaml

    changes = {}
    for item in items:
        field, equals, value = item.partition("=")
        if not equals:
            raise AskdError(f"--set {item}: write FIELD=VALUE, for example --set decoder_layers=2")
        if field in changes:
            raise AskdError(f"--set {field} is given twice")
        try:
            changes[field] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise AskdError(f"--set {item}: the value is not YAML: a number, a word, [a, list] or {{a: mapping}}") from None
    return changes


def _show(folder: Path) -> None:
    from askd.ablationtables import P_VALUES, ablation_sentences, ablation_table, means_in_words, over
    from askd.files import read_json
    from askd.notebook import table

    ablation = read_json(folder / "results" / "ablation.json")
    print(table(*ablation_table(ablation)))
    print(f"macro WER %; in brackets 95 % intervals over {over(ablation)}; {means_in_words(ablation)}")
    print("\n".join(["", *ablation_sentences(ablation), f"({P_VALUES})"]))
    print(f"\nwritten: {folder}/results, {folder}/figures")
