"""The ``askd`` command. Every subcommand has ``--help`` with examples."""

import argparse
import errno
import os
import sys
from pathlib import Path

from askd import datacli
from askd.errors import AskdError

EXAMPLES = {
    "reproduce": "askd reproduce\n  askd reproduce --profile smoke\n  askd reproduce --profile real --audio-root corpora/\n"
    "  askd reproduce --profile cpu --fresh",
    "data": "askd data list\n  askd data get --clips 40\n  askd data check my_recordings/    (each action has --help)",
    "train": "askd train --method askd --steps 300 --out runs/mine/askd\n"
    "  askd train --method constant_kd --teacher base --decoder-layers 3 --out runs/mine/kd\n"
    "  askd train --data my_recordings/ formant_noise --train-clips 500 --out runs/mine/own\n"
    "  askd train --set schedule=cosine --set switch=0.5 --out runs/mine/cosine",
    "evaluate": "askd evaluate --model runs/cpu/students/askd --manifest my.csv --audio-root recordings --out scores\n"
    "  askd evaluate --model tiny.en --manifest my_recordings/ --out scores-of-the-teacher\n"
    "  askd evaluate --model tiny.en --data scottish_street hub:fleurs --clips 200 --out scores",
    "latency": "askd latency --student runs/cpu/students/askd\n  askd latency --teacher base --student my-student --batch 1 8",
    "publish": "askd publish cpu",
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="askd", description="Distil speech recognisers with adaptive self-knowledge distillation, and measure them.",
        epilog="askd COMMAND --help shows examples. Cache: $ASKD_CACHE or ~/.cache/askd",
    )
    command = datacli.subcommands(parser, "command", EXAMPLES)

    p = command("reproduce", "run all notebooks of a profile, resuming where it stopped")
    p.add_argument("--profile", default="cpu", help="a file in notebooks/profiles (default: cpu)")
    p.add_argument("--fresh", action="store_true", help="run every notebook again, even those that are done")
    p.add_argument("--audio-root", help="folder with local copies of the public corpora (default: $ASKD_AUDIO_ROOT)")

    datacli.add_commands(command("data", "list, make, fetch, show and check speech"))

    p = command("train", "distil one student on synthetic speech, public corpora, or your own recordings")
    p.add_argument("--method", default="askd", help="ce_only, constant_kd, decay_only, self_kd_only or askd (default)")
    p.add_argument("--teacher", default="tiny.en", help="tiny.en, base, a folder or a Hub id (default: tiny.en)")
    p.add_argument("--decoder-layers", type=int, help="layers kept of the decoder (default: 2)")
    p.add_argument("--steps", type=int, help="optimiser steps (default: 300)")
    p.add_argument("--batch-size", type=int, help="clips a step (default: 16)")
    p.add_argument("--encoder-lr", type=float)
    p.add_argument("--decoder-lr", type=float)
    p.add_argument("--precision", choices=("auto", "fp32", "bf16"))
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--data", nargs="+", metavar="NAME", help="domains, folders or hub:ID (default: all synthetic in-domain ones)")
    p.add_argument("--train-clips", type=int, default=150, help="clips a domain (default: 150)")
    p.add_argument("--dev-clips", type=int, default=8, help="clips a domain (default: 8; 0: none)")
    p.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="change a field of the curriculum")
    datacli.add_source_options(p)
    p.add_argument("--out", required=True, help="run folder; an unfinished run there goes on")

    p = command("evaluate", "score a model on your recordings or on any domain")
    p.add_argument("--model", required=True, help="tiny.en, base, a folder or a Hub id")
    what = p.add_mutually_exclusive_group(required=True)
    what.add_argument("--manifest", help="CSV, TSV or JSONL with columns path,text[,domain,speaker,duration_s], or a folder")
    what.add_argument("--data", nargs="+", metavar="NAME", help="declared domains, folders or hub:ID")
    p.add_argument("--role", help="of --data: train, dev, test or all (default: test, or all where there is no split)")
    p.add_argument("--clips", type=int, default=100, help="of --data: clips a domain (default: 100)")
    datacli.add_source_options(p)
    p.add_argument("--batch-size", type=int, default=16)
    p.add_argument("--out", required=True, help="folder for wer.json and hypotheses")

    p = command("latency", "time a student against its teacher, interleaved, batch 1 and N")
    p.add_argument("--teacher", default="tiny.en")
    p.add_argument("--student", required=True)
    p.add_argument("--audio-s", type=float, nargs="+", default=[1, 3, 5, 10, 30])
    p.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    p.add_argument("--repeats", type=int, default=20)
    p.add_argument("--out", help="JSON file for the rows")

    p = command("publish", "copy a run's figures and results into figures/, data/results/ and the README's table")
    p.add_argument("profile", help="name of the run")
    return parser


def _reproduce(args) -> None:
    from askd.reproduce import reproduce

    reproduce(args.profile, args.fresh, args.audio_root)


def _train(args) -> None:
    import yaml

    from askd.domains import domain_names, get_domain, load_clips
    from askd.teacher import load_teacher
    from askd.trainconfig import TrainConfig
    from askd.training import train

    names = ("method", "decoder_layers", "steps", "batch_size", "encoder_lr", "decoder_lr", "precision", "seed")
    values = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    bad = [item for item in args.set if "=" not in item]
    if bad:
        raise AskdError(f"--set {bad[0]}: write FIELD=VALUE, for example --set schedule=cosine")
    overrides = {key: yaml.safe_load(value) for key, value in (item.split("=", 1) for item in args.set)}
    config = TrainConfig(**values, overrides=overrides)
    model, processor = load_teacher(args.teacher)
    names = args.data or domain_names("in_domain", "synthetic")
    domains = [get_domain(name) for name in names]
    options = {"seed": args.seed, "progress": True, **datacli.source_options(args)}
    clips = [c for d in domains for c in load_clips(d, "train", args.train_clips, **options)]
    scored = [d for d in domains if "dev" in d.roles] if args.dev_clips else []
    if not scored:
        print("no dev clips: only the training loss is logged")
    dev = [c for d in scored for c in load_clips(d, "dev", args.dev_clips, **options)]
    print(f"student in {train(config, model, processor, clips, args.out, dev, skip_bad=args.skip_bad)}")


def _evaluate(args) -> None:
    from askd.domains import get_domain, load_clips
    from askd.evaluation import evaluate_clips, read_manifest
    from askd.teacher import load_teacher

    model, processor = load_teacher(args.model)
    name = Path(args.model).name
    if args.manifest:
        clips = read_manifest(args.manifest, args.audio_root, args.skip_bad, args.layout)
    else:
        options = {"progress": True, **datacli.source_options(args)}
        domains = [get_domain(name) for name in args.data]
        clips = [c for d in domains for c in load_clips(d, args.role or d.scored_role, args.clips, **options)]
    report = evaluate_clips(model, processor, name, clips, args.out, args.batch_size, args.skip_bad)
    print(report["scorer"])
    for domain, row in report["models"][name]["domains"].items():
        print(f"{domain:24} WER {row['wer']:6.2f} %  S {row['sub']} D {row['del']} I {row['ins']} of {row['words']} words")
    print(f"written to {args.out}/wer.json and {args.out}/hypotheses/{name}.jsonl")


def _latency(args) -> None:
    from askd.domains import load_clips
    from askd.files import write_json
    from askd.latency import TOKENS_PER_S, machine, measure, of_length, speedup
    from askd.teacher import load_teacher

    models = {"teacher": load_teacher(args.teacher).model, "student": load_teacher(args.student).model}
    spoken = load_clips("neural_clean", "test", 8)[0].samples()
    rows = []
    for batch in args.batch:
        for audio_s in args.audio_s:
            tokens = max(2, round(TOKENS_PER_S * audio_s))
            clips = [of_length(spoken, audio_s)] * batch
            rows += measure(models, clips, batch, [tokens] * batch, args.repeats, label=f"{audio_s:g} s", progress=True)
            teacher_ms, student_ms = rows[-2]["p50_ms"], rows[-1]["p50_ms"]
            ratio = speedup(rows, "teacher", "student", batch=batch, clips=f"{audio_s:g} s")
            print(f"batch {batch}, {audio_s:g} s: teacher {teacher_ms:.0f} ms, student {student_ms:.0f} ms, {ratio:.2f}x")
    if args.out:
        write_json(args.out, {"rows": rows, "machine": machine()})


def _publish(args) -> None:
    from askd.publish import publish

    publish(args.profile)


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit status. Errors the user can mend are one line on stderr, status 2."""
    args = _parser().parse_args(argv)
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        commands = {"reproduce": _reproduce, "data": datacli.run, "train": _train, "evaluate": _evaluate, "latency": _latency,
                    "publish": _publish}
        return commands[args.command](args) or 0
    except AskdError as error:
        print(f"askd {args.command}: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        print(f"askd {args.command}: the disk is full ({error}): free some space; the same command goes on from the last "
              "checkpoint", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\naskd {args.command}: stopped; the same command goes on from here", file=sys.stderr)
        return 130
