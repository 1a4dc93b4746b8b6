"""``askd score RUN``: every table and figure of a run again, from its files alone."""

import argparse

ABOUT = "recompute all tables, intervals and figures of a run from its stored answers, without a model"
EXAMPLES = (
    "askd score runs/cpu                                    # WER, blind spots, hallucination, calibration, claims\n"
    "  askd score scores/                                     # what askd evaluate wrote\n"
    "  askd score runs/cpu --only wer --resamples 1000\n"
    "  askd score runs/cpu runs/cpu-1 runs/cpu-2 --out runs/three-seeds   # seeds of the same methods, combined"
)


def add_arguments(p: argparse.ArgumentParser) -> None:
    """Options of the command."""
    from askd.score import PARTS

    p.add_argument("run", nargs="+", help="run folder or folder of askd evaluate; several: training seeds of the same methods")
    p.add_argument("--out", help="folder for results/ and figures/ (default: the run folder; needed with several)")
    p.add_argument("--only", nargs="+", choices=PARTS, metavar="PART", help=f"of {', '.join(PARTS)} (default: all)")
    p.add_argument("--resamples", type=int, default=10_000, help="of the bootstrap (default: 10000)")
    p.add_argument("--partial", action="store_true", help="use the whole lines of files that were cut while they were written")
    p.add_argument("--no-figures", action="store_true")


def run(args: argparse.Namespace) -> None:
    """Carry out the command."""
    from askd.claims import as_text
    from askd.notebook import table
    from askd.score import PARTS, score
    from askd.wer import by_domain

    reports = score(args.run, args.out, args.only or PARTS, args.resamples, args.partial, not args.no_figures)
    if "wer" in reports:
        print(reports["wer"]["scorer"])
        print(table(*by_domain(reports["wer"])))
        print("* never trained on; 95 % intervals in brackets")
    if reports.get("claims", {}).get("claims"):
        print()
        print(as_text(reports["claims"]))
    print(f"\nwritten: {', '.join(f'{name}.json' for name in reports)} in the results of {args.out or args.run[0]}")
