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
                        help="folders of recordings, tables, hub:ID or declared domains; what has no training part is only "
                        "tested on, labels of `askd pseudolabel` are only trained on")
    parser.add_argument("--out", required=True, help="run folder; an unfinished run there goes on by its own plan")
    parser.add_argument("--hours", type=float, default=2.0, help="for everything together (default: 2)")
    parser.add_argument("--plan", action="store_true",
                        help="measure this machine, print the plan, and stop; it is written down unless training has begun")
    parser.add_argument("--replan", action="store_true",
                        help="plan anew; where training has begun, take changed arguments: student and plan are moved aside")
    parser.add_argument("--method", default="askd", help="ce_only, constant_kd, decay_only, self_kd_only or askd (default)")
    parser.add_argument("--decoder-layers", type=int, help="layers kept of the decoder (default: by the amount of speech)")
    parser.add_argument("--epochs", type=float, help="passes over the training clips, at most (default: by their hours)")
    parser.add_argument("--train-clips", type=int, help="of each source (default: all of a folder, 2000 of a Hub data set)")
    parser.add_argument("--mix", type=int, metavar="CLIPS",
                        help="synthetic clips that join in (default: as many as recordings, where those are under half an hour)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--export", nargs="*", choices=("hf", "ct2", "onnx"), default=["hf", "ct2"],
                        help="forms for other programs (default: hf ct2)")
    parser.add_argument("--no-report", action="store_true",
                        help="leave out report.html, which embeds players and transcripts of some recordings")
    add_source_options(parser)


def run(args: argparse.Namespace) -> int:
    """Carry it out and say what came out and where it lies."""
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    from askd.distill import distill, in_words, located
    from askd.notebook import quiet
    from askd.plan import Asked, Plan
    from askd.report import write_report

    quiet()
    names = ("teacher", "data", "hours", "method", "decoder_layers", "epochs", "train_clips", "mix", "seed")
    asked = located(Asked(**{name: getattr(args, name) for name in names}, **source_options(args)))
    out = Path(args.out)
    summary = distill(asked, out, args.plan, args.replan, exports=args.export)
    if args.plan:
        print(Plan(**summary["plan"]).as_text())
        print(f"\nplan of {out / 'plan.json'}; the same command without --plan carries it out")
        return 0
    print(f"\n{in_words(summary)}\n")
    places = {"student": summary["folder"], **summary["exports"], "scores": "results"}
    for what, where in places.items():
        print(f"{what:10} {out / where}")
    print(f"next       askd evaluate --model {out / summary['folder']} --manifest OTHER_RECORDINGS --out scores\n"
          f"           askd latency --teacher {args.teacher} --student {out / summary['folder']}", flush=True)
    report = None if args.no_report else write_report(asked, out, args.export)
    if report:
        print(f"report     {report}")
    return 0
