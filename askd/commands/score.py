"""``askd score RUN``: every table and figure of a run again, from its files alone."""

import argparse

from askd.commands.options import at_least_one

ABOUT = "recompute all tables, intervals and figures of a run from its stored answers, without a model"
EXAMPLES = (
    "askd score runs/cpu                                    # WER, blind spots, hallucination, calibration, claims\n"
    "  askd score scores/                                     # what askd evaluate wrote\n"
    "  askd score runs/cpu --only wer --resamples 1000\n"
    "  askd score runs/cpu runs/cpu-1 runs/cpu-2 --out runs/cpu-seeds     # seeds of the same methods, combined"
)
RESUMES = False


def add_arguments(p: argparse.ArgumentParser) -> None:
    """Options of the command."""
    from askd.score import PARTS

    p.add_argument("run", nargs="+", help="run folder or folder of askd evaluate; several: training seeds of the same methods")
    p.add_argument("--out", help="folder for results/ and figures/ (default: the run folder; needed with several, and --partial)")
    p.add_argument("--only", nargs="+", choices=PARTS, metavar="PART", help=f"of {', '.join(PARTS)} (default: all)")
    p.add_argument("--resamples", type=int, default=10_000, help="of the bootstrap (default: 10000)")
    p.add_argument("--partial", action="store_true", help="use the whole lines of files that were cut while they were written")
    p.add_argument("--no-figures", action="store_true")


def run(args: argparse.Namespace) -> None:
    """Carry out the command."""
    from askd.claims import as_text
    from askd.notebook import table
    from askd.score import PARTS, results_of, score
    from askd.wer import by_domain

    at_least_one(args, "resamples")
    reports = score(args.run, args.out, args.only or PARTS, args.resamples, args.partial, not args.no_figures)
    if "wer" in reports:
        print(reports["wer"]["scorer"])
        print(table(*by_domain(reports["wer"])))
        print("* not trained on, as far as the run says; 95 % intervals in brackets")
    if reports["claims"]["claims"]:
        print()
        print(as_text(reports["claims"]))
    if 1 < len(args.run) < 3:
        print("two seeds say little about other seeds: their intervals are wide; take three or more")
    place = f"{args.out}/results" if args.out else results_of(args.run[0])
    print(f"\nwritten: {', '.join(f'{name}.json' for name in reports)} in {place}"
          + ("" if args.no_figures else f"; figures in {args.out or args.run[0]}/figures"))
