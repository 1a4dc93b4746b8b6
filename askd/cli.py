"""The ``askd`` command. Every subcommand has ``--help`` with examples."""

import argparse
import errno
import os
import sys
from pathlib import Path

from askd import datacli, pseudolabelcli, runscli, traincli
from askd.errors import AskdError

EXAMPLES = {
    "reproduce": "askd reproduce\n  askd reproduce --profile smoke\n  askd reproduce --profile real --audio-root corpora/\n"
    "  askd reproduce --profile cpu --fresh",
    "data": "askd data list\n  askd data get --clips 40\n  askd data check my_recordings/    (each action has --help)",
    "train": traincli.EXAMPLES,
    "runs": runscli.EXAMPLES,
    "pseudolabel": pseudolabelcli.EXAMPLES,
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

    traincli.add_arguments(command("train", "distil one student on synthetic speech, public corpora, or your own recordings"))

    runscli.add_arguments(command("runs", "list training runs, or set some side by side"))

    pseudolabelcli.add_arguments(command("pseudolabel", "transcribe audio with the teacher and keep what can be trusted"))

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
        commands = {
            "reproduce": _reproduce, "data": datacli.run, "pseudolabel": pseudolabelcli.run, "train": traincli.run,
            "runs": runscli.run, "evaluate": _evaluate, "latency": _latency, "publish": _publish,
        }
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
