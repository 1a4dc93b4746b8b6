"""``askd evaluate``: word error rates of a model."""

import argparse
from pathlib import Path

from askd.commands.options import add_source_options, source_options

ABOUT = "score a model on your recordings or on any domain"
EXAMPLES = (
    "askd evaluate --model runs/cpu/students/askd --manifest my.csv --audio-root recordings --out scores\n"
    "  askd evaluate --model tiny.en --manifest my_recordings/ --out scores-of-the-teacher\n"
    "  askd evaluate --model tiny.en --data scottish_street hub:fleurs --clips 200 --out scores"
)


def add_arguments(p: argparse.ArgumentParser) -> None:
    """Options of the command."""
    p.add_argument("--model", required=True, help="tiny.en, base, a folder or a Hub id")
    what = p.add_mutually_exclusive_group(required=True)
    what.add_argument("--manifest", help="CSV, TSV or JSONL with columns path,text[,domain,speaker,duration_s], or a folder")
    what.add_argument("--data", nargs="+", metavar="NAME", help="declared domains, folders or hub:ID")
    p.add_argument("--role", help="of --data: train, dev, test or all (default: test, or all where there is no split)")
    p.add_argument("--clips", type=int, default=100, help="of --data: clips a domain (default: 100)")
    add_source_options(p)
    p.add_argument("--batch-size", type=int, default=16)
    p.add_argument("--out", required=True, help="folder for wer.json and hypotheses")


def run(args: argparse.Namespace) -> None:
    """Carry out the command."""
    from askd.domains import get_domain, load_clips
    from askd.evaluation import evaluate_clips, read_manifest
    from askd.teacher import load_teacher

    model, processor = load_teacher(args.model)
    name = Path(args.model).name
    if args.manifest:
        clips = read_manifest(args.manifest, args.audio_root, args.skip_bad, args.layout)
    else:
        options = {"progress": True, **source_options(args)}
        domains = [get_domain(name) for name in args.data]
        clips = [c for d in domains for c in load_clips(d, args.role or d.scored_role, args.clips, **options)]
    report = evaluate_clips(model, processor, name, clips, args.out, args.batch_size, args.skip_bad)
    print(report["scorer"])
    for domain, row in report["models"][name]["domains"].items():
        print(f"{domain:24} WER {row['wer']:6.2f} %  S {row['sub']} D {row['del']} I {row['ins']} of {row['words']} words")
    print(f"written to {args.out}/wer.json and {args.out}/hypotheses/{name}.jsonl")
