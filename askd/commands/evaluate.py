"""``askd evaluate``: word error rates of models."""

import argparse
from pathlib import Path

from askd.commands.options import add_source_options, at_least_one, source_options
from askd.errors import AskdError

ABOUT = "score models on your recordings, of any length, or on any domain"
EXAMPLES = (
    "askd evaluate --model runs/cpu/students/askd --manifest my.csv --audio-root recordings --out scores\n"
    "  askd evaluate --model tiny.en runs/cpu:askd --name teacher askd --manifest my_recordings/ --out scores\n"
    "  askd evaluate --model tiny.en --manifest calls.csv --path-column wav --text-column said --out scores\n"
    "  askd evaluate --model tiny.en --manifest lectures.csv --how cut --out scores        # longer than 30 s\n"
    "  askd evaluate --model tiny.en --data scottish_street hub:fleurs --clips 200 --out scores\n"
    "  askd evaluate --model tiny.en mine/ --manifest my.csv --calibration --nonspeech --out scores\n"
    "  askd evaluate --model tiny.en --data 'hub:some/corpus?text=sentence&speaker=client_id' --out scores\n"
    "then, without a model: askd score scores; askd compare scores:teacher scores:askd"
)
FRAMES = ("model", "clip", "full")
RESUMES = False


def add_arguments(p: argparse.ArgumentParser) -> None:
    """Options of the command."""
    p.add_argument("--model", required=True, nargs="+", metavar="MODEL",
                   help="tiny.en, base, a folder, RUN:METHOD or a Hub id; several are compared with the first")
    p.add_argument("--name", nargs="+", metavar="NAME", help="of each model in the report (default: the last part of MODEL)")
    what = p.add_mutually_exclusive_group(required=True)
    what.add_argument("--manifest", help="CSV, TSV or JSONL with columns path,text[,domain,speaker] and any others, or a folder")
    what.add_argument("--data", nargs="+", metavar="SOURCE", help="declared domains, folders or hub:ID")
    p.add_argument("--role", help="of --data: train, dev, test or all (default: test, or all where there is no split)")
    p.add_argument("--clips", type=int, help="of --data: clips a source (default: 100)")
    for column in ("path", "text", "speaker", "domain"):
        p.add_argument(f"--{column}-column", metavar="COLUMN", help=f"of --manifest: what it calls its column {column}")
    add_source_options(p)
    p.add_argument("--batch-size", type=int, default=16, help="clips decoded together (default: 16)")
    p.add_argument("--max-new-tokens", type=int, default=128, metavar="N", help="a transcript is cut there (default: 128)")
    p.add_argument("--frames", choices=FRAMES, default="model",
                   help="audio context: what the model wants (default), the clip's own length, or the full 30 s")
    p.add_argument("--how", choices=("auto", "sequential", "cut"), default="auto",
                   help="of recordings longer than 30 s: by the model's timestamps, or cut at quiet places (default: as it can)")
    p.add_argument("--calibration", action="store_true", help="also ask how sure the model is of each token of the references")
    p.add_argument("--nonspeech", nargs="?", const="full", choices=("small", "full"),
                   help="also play silence, noise and tones (64 sounds; small: 8) and keep what is written")
    p.add_argument("--out", required=True, help="folder for wer.json and hypotheses")


def run(args: argparse.Namespace) -> None:
    """Carry out the command."""
    from askd.evaluation import evaluate_models, read_manifest, scored_clips
    from askd.features import FULL_CONTEXT
    from askd.finished import named_model

    if args.manifest and (given := [f"--{name}" for name in ("role", "clips", "casing") if getattr(args, name) is not None]):
        raise AskdError(f"{', '.join(given)}: of --data, not of --manifest")
    args.clips = 100 if args.clips is None else args.clips
    at_least_one(args, "batch_size", "max_new_tokens", "clips")
    models = _named(args.model, args.name)
    columns = {c: name for c in ("path", "text", "speaker", "domain") if (name := getattr(args, f"{c}_column"))}
    if columns and not args.manifest:
        raise AskdError("--path-column and the like belong to --manifest; columns of a Hub data set: hub:ID?text=NAME&audio=NAME")
    models = {name: named_model(model) for name, model in models.items()}  # a misspelt one is named before anything is read
    if args.manifest:
        clips = read_manifest(args.manifest, args.audio_root, args.skip_bad, args.layout, columns, progress=True)
    else:
        options = {"progress": True, **source_options(args)}
        clips = [clip for source in args.data for clip in scored_clips(source, args.role, args.clips, **options)]
    frames = {"model": "model", "clip": None, "full": FULL_CONTEXT}[args.frames]
    report = evaluate_models(
        models, clips, args.out, args.batch_size, args.skip_bad, frames=frames, how=args.how, max_new_tokens=args.max_new_tokens,
        calibration=args.calibration, nonspeech=args.nonspeech,
    )
    _show(report, Path(args.out))


def _named(models: list[str], names: list[str] | None) -> dict[str, str]:
    """Models by the name that the report gives them.

    Raises:
        AskdError: too few or too many names, one twice, or one that cannot be a file's.
    """
    if names and len(names) != len(models):
        raise AskdError(f"--name gives {len(names)} names to {len(models)} models")
    names = names or [Path(model).name.rpartition(":")[2] for model in models]
    if len(set(names)) < len(names):
        raise AskdError(f"two models are called {max(names, key=names.count)}: tell them apart with --name A B")
    for name in names:
        if not name or name.startswith(".") or Path(name).name != name:
            raise AskdError(f"--name {name!r} cannot be the name of a file: take letters and digits")
    return dict(zip(names, models, strict=True))


def _show(report: dict, out: Path) -> None:
    from askd.wer import cell

    print(report["scorer"])
    for name, model in report["models"].items():
        if len(report["models"]) > 1:
            print(f"{name}:")
        for domain, row in model["domains"].items():
            counts = f"S {row['sub']} D {row['del']} I {row['ins']} of {row['words']} words, {row['utterances']} recordings"
            print(f"{domain:24} WER % {cell(row['wer'], row['wer_ci95'], 2):24} CER {row['cer']:.2f}  {counts}")
        if len(model["domains"]) > 1:
            print(f"{'macro':24} WER % {cell(model['macro']['all'], model['macro_ci95'].get('all'), 2)}")
    for found in report["comparisons"]:
        if found["split"] == "all":
            print(found["in_words"])
    files = [out / "hypotheses" / f"{name}.jsonl" for name in report["models"]]
    print(f"written to {out / 'wer.json'} and {', '.join(map(str, files))}")
    other = files[1] if len(files) > 1 else "OTHER.jsonl"
    print(f"next, without a model: askd score {out}, or askd compare {other} {files[0]}")
