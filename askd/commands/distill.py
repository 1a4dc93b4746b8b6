"""``askd distill``: from recordings to a student, its scores, its report and its exports, in one command."""

import argparse
import os
from pathlib import Path

from askd.commands.options import add_source_options, source_options

ABOUT = "from recordings to a student, its scores, a report and exports"
EXAMPLES = (
    "askd distill --teacher tiny.en --data my_recordings/ --out runs/mine --plan      # what would happen, and how long\n"
    "  askd distill --teacher tiny.en --data my_recordings/ --out runs/mine             # do it; goes on after Ctrl-C\n"
    "  askd distill --teacher openai/whisper-small.en --data my_recordings/ hub:ami --hours 8 --out runs/meetings"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``askd distill`` to its parser."""
    parser.add_argument("--teacher", default="tiny.en", help="tiny.en, base, a folder or a Hub id (default: tiny.en)")
    parser.add_argument("--data", nargs="+", required=True, metavar="NAME",
                        help="folders of recordings, hub:ID or declared domains; what has no training part is only tested on")
    parser.add_argument("--out", required=True, help="run folder; an unfinished run there goes on by its own plan")
    parser.add_argument("--hours", type=float, default=2.0, help="for everything together (default: 2)")
    parser.add_argument("--plan", action="store_true", help="measure this machine, write and print the plan, and stop")
    parser.add_argument("--replan", action="store_true",
                        help="take changed arguments in a folder where training has begun; its student is moved aside")
    parser.add_argument("--method", default="askd", help="ce_only, constant_kd, decay_only, self_kd_only or askd (default)")
    parser.add_argument("--decoder-layers", type=int, help="layers kept of the decoder (default: by the amount of speech)")
    parser.add_argument("--epochs", type=float, help="passes over the training clips, at most (default: by their hours)")
    parser.add_argument("--train-clips", type=int, help="of each source, at most (default: all of a folder)")
    parser.add_argument("--mix", type=int, metavar="CLIPS",
                        help="synthetic clips that join in (default: as many as recordings, where those are under half an hour)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--export", nargs="*", choices=("hf", "ct2"), default=["hf", "ct2"],
                        help="forms for other programs (default: both)")
    parser.add_argument("--no-report", action="store_true", help="leave out report.html")
    add_source_options(parser)


def run(args: argparse.Namespace) -> int:
    """Carry it out and say what came out and where it lies."""
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    from askd.distill import distill, in_words, located
    from askd.files import read_json
    from askd.notebook import quiet
    from askd.plan import Asked, Plan
    from askd.report import write_report

    quiet()
    audio_root = str(Path(args.audio_root).resolve()) if args.audio_root else None
    names = ("teacher", "data", "hours", "method", "decoder_layers", "epochs", "train_clips", "mix", "seed")
    asked = located(Asked(**{name: getattr(args, name) for name in names},
                          **source_options(args) | {"audio_root": audio_root}))
    summary = distill(asked, args.out, args.plan, args.replan, exports=args.export)
    if args.plan:
        print(Plan(**read_json(summary["plan"])).as_text())
        print(f"\nplan in {summary['plan']}; the same command without --plan carries it out")
        return 0
    report = None if args.no_report else write_report(asked, args.out, args.export)
    print(f"\n{in_words(summary)}\n")
    places = {"student": Path(args.out) / "student", **summary["exports"], "scores": Path(args.out) / "results"}
    for what, where in (places | ({"report": report} if report else {})).items():
        print(f"{what:10} {where}")
    print(f"next       askd evaluate --model {args.out}/student --manifest OTHER_RECORDINGS --out scores\n"
          f"           askd latency --teacher {args.teacher} --student {args.out}/student")
    return 0
