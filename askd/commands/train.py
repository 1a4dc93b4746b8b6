"""``askd train``: one student, from the shell, in one process or under ``accelerate launch``."""

import argparse

from askd.commands.options import add_source_options, source_options
from askd.errors import AskdError, RunError
from askd.methods import METHODS

ABOUT = "distil one student on synthetic speech, public corpora, or your own recordings"
EXAMPLES = (
    "askd train --method askd --steps 300 --out runs/mine/askd\n"
    "  askd train --method constant_kd --teacher base --decoder-layers 3 --out runs/mine/kd\n"
    "  askd train --data my_recordings/ formant_noise --train-clips 500 --out runs/mine/own\n"
    "  askd train --set schedule=cosine --set switch=0.5 --set micro_batch_size=8 --out runs/mine/cosine\n"
    "  askd train --profile gpu --method constant_kd                            # into runs/gpu/students/constant_kd\n"
    "  accelerate launch --num_processes 8 -m askd train --profile paper        # DDP on eight GPUs\n"
    "  askd train --profile paper --estimate --gpus 8                           # hours, memory and money beforehand\n"
    "  askd train --data hub:librispeech_clean --stream --set targets=online --out runs/mine/streamed"
)

DEFAULT_CLIPS = {"synthetic": 150, "hub": 2000}


def add_arguments(p: argparse.ArgumentParser) -> None:
    """Options of the command."""
    p.add_argument("--method", default="askd", help=f"{', '.join(METHODS)} (default: askd)")
    p.add_argument("--teacher", help="tiny.en, base, a folder or a Hub id (default: tiny.en)")
    p.add_argument("--decoder-layers", type=int, help="layers kept of the decoder (default: 2)")
    p.add_argument("--steps", type=int, help="optimiser steps (default: 300)")
    p.add_argument("--batch-size", type=int, help="clips a step, over all processes (default: 16)")
    p.add_argument("--encoder-lr", type=float)
    p.add_argument("--decoder-lr", type=float)
    p.add_argument("--precision", choices=("auto", "fp32", "bf16"))
    p.add_argument("--seed", type=int)
    p.add_argument("--track", help="tensorboard (default), wandb, mlflow, several with commas, or none")
    p.add_argument("--data", nargs="+", metavar="NAME", help="domains, folders or hub:ID (default: all synthetic in-domain ones)")
    p.add_argument("--stream", action="store_true", help="read --data (Parquet, hub:ID) as the steps need it, without a cache")
    p.add_argument("--train-clips", type=int, help="clips a domain (default: 150 synthetic, 2,000 of a Hub data set, all else)")
    p.add_argument("--dev-clips", type=int, help="clips a domain (default: 8; 0: none)")
    p.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE",
                   help="any other field of askd.trainconfig.TrainConfig or askd.curriculum.Curriculum; with --profile, of "
                   "askd.runs.Settings")
    p.add_argument("--profile", help="train as this profile's notebooks do: its teacher, speech and settings, but for what you "
                   "name yourself (--data: its corpora)")
    p.add_argument("--estimate", action="store_true", help="say what it would cost on GPUs (operations, hours, memory), and stop")
    p.add_argument("--gpus", type=int, default=1, help="of --estimate (default: 1)")
    add_source_options(p)
    p.add_argument("--out", help="run folder; an unfinished run there goes on (default with --profile: in runs/)")


def _settings(args) -> dict:
    """What was asked for, as fields of TrainConfig; fields of the curriculum go into its ``overrides``."""
    import yaml

    from askd.curriculum import Curriculum
    from askd.methods import TRAINING
    from askd.runs import Settings
    from askd.trainconfig import TrainConfig

    names = ("steps", "decoder_layers", "batch_size", "encoder_lr", "decoder_lr", "precision", "seed", "track")
    values = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    overrides, known = {}, [*TrainConfig.__dataclass_fields__, *Curriculum.__dataclass_fields__]
    for name in ("method", "overrides"):  # an option of its own; and what the other fields are collected in
        known.remove(name)
    if args.profile:
        known += [name for name in Settings.__dataclass_fields__ if name not in (*known, "training")]
    for item in args.set:
        if "=" not in item:
            raise AskdError(f"--set {item}: write FIELD=VALUE, for example --set schedule=cosine")
        field, value = item.split("=", 1)
        if field not in known:
            raise AskdError(f"--set {field}: no such field; known are {', '.join(known)}")
        (overrides if field in Curriculum.__dataclass_fields__ else values)[field] = yaml.safe_load(value)
    belongs = {} if args.profile else TRAINING.get(args.method, {})  # with a profile, askd.runs.train_config adds it
    return belongs | values | {"method": args.method} | ({"overrides": overrides} if overrides else {})


def _refuse(args, options: tuple[str, ...], why: str) -> None:
    given = [f"--{name.replace('_', '-')}" for name in options if getattr(args, name) not in (None, False)]
    if given:
        raise AskdError(f"{', '.join(given)}: {why}")


def run(args: argparse.Namespace) -> None:
    """Carry out the command."""
    from askd.methods import get_method

    get_method(args.method)
    values = _settings(args)
    if args.train_clips is not None and args.train_clips < 1:
        raise AskdError(f"--train-clips must be at least 1, not {args.train_clips}")
    if args.profile:
        _refuse(args, ("stream", "layout", "casing"), "not with --profile; a hub:ID of --data takes ?casing=sentence")
    if args.stream:
        _refuse(args, ("layout", "casing", "train_clips", "audio_root"), "not with --stream; a hub:ID takes ?casing=sentence")
    if args.estimate:
        _estimate(args, values)
        return
    if args.profile:
        _train_profile(args, values)
        return
    if not args.out:
        raise AskdError("say where the run goes: --out FOLDER")
    from askd.domains import domain_names, get_domain, load_clips
    from askd.processes import all_processes
    from askd.teacher import load_teacher
    from askd.trainconfig import TrainConfig
    from askd.traindata import open_stream
    from askd.training import train

    config, processes = TrainConfig(**values), all_processes()
    progress = processes.is_main_process
    domains = [get_domain(name) for name in args.data or domain_names("in_domain", "synthetic")]
    options = {"seed": config.seed, "progress": progress, **source_options(args)}
    with processes.main_process_first():  # what has to be made or fetched is so once
        model, processor = load_teacher(args.teacher or "tiny.en")
        if args.stream:
            clips = open_stream(domains, model, processor, config, args.skip_bad)
        else:
            counts = [args.train_clips or DEFAULT_CLIPS.get(domain.source) for domain in domains]
            clips = [c for d, n in zip(domains, counts, strict=True) for c in load_clips(d, "train", n, **options)]
        scored = [d for d in domains if "dev" in d.roles] if args.dev_clips != 0 else []
        dev = [c for d in scored for c in load_clips(d, "dev", args.dev_clips or 8, **options)]
    if not scored and progress:
        print("no dev clips: only the training loss is logged")
    out = train(config, model, processor, clips, args.out, dev, progress, skip_bad=args.skip_bad)
    if progress:
        print(f"student in {out}")
    processes.destroy_process_group()


def _estimate(args, values: dict) -> None:
    from askd.estimate import GPU_TFLOPS, USD_PER_GPU_HOUR, estimate
    from askd.runs import train_config
    from askd.trainconfig import TrainConfig

    if args.profile:
        settings = _profile_settings(args, values)
        teacher, config = settings.teacher, train_config(settings, args.method)
    else:
        teacher, config = args.teacher or "tiny.en", TrainConfig(**values)
    print(f"{config.method}, {teacher}: {estimate(teacher, config, gpus=args.gpus)}")
    print(f"assumed: {GPU_TFLOPS:g} TFLOP/s and ${USD_PER_GPU_HOUR:g} an hour for each GPU, utterances of 10 s; reading the data "
          "and asking a cached teacher come on top")


def _profile_settings(args, values: dict):
    """Settings of the profile with what was named on the command line, all in one place, so that notebooks see the same."""
    from askd.reproduce import read_profile, settings_of
    from askd.runs import Settings

    settings = settings_of(read_profile(args.profile))
    named = {"teacher": args.teacher, "corpora": args.data, "train_clips": args.train_clips, "dev_clips": args.dev_clips}
    settings |= {name: value for name, value in named.items() if value is not None}
    own = {name: value for name, value in values.items() if name in Settings.__dataclass_fields__}
    more = {name: value for name, value in values.items() if name not in (*own, "method")}
    return Settings(**settings | own | {"training": settings.get("training", {}) | more})


def _train_profile(args, values: dict) -> None:
    import os
    from dataclasses import asdict
    from pathlib import Path

    from askd.processes import all_processes
    from askd.runs import Run
    from askd.teacher import load_teacher

    if args.audio_root:
        os.environ["ASKD_AUDIO_ROOT"] = str(Path(args.audio_root).resolve())
    run, everyone = Run(str(Path(args.out).resolve()) if args.out else args.profile), all_processes()
    settings = _profile_settings(args, values)
    if everyone.is_main_process:
        if (run.folder / "settings.json").is_file() and (old := run.settings()) != settings:
            other = [name for name, value in asdict(settings).items() if value != getattr(old, name)]
            raise RunError(f"{run.folder} was begun with other {', '.join(other)}: choose another folder, --out FOLDER")
        run.start(**asdict(settings))  # as notebook 00 does
    everyone.wait_for_everyone()
    with everyone.main_process_first():
        model, processor = load_teacher(settings.teacher)
    out = run.train(args.method, model, processor, everyone.is_main_process, args.skip_bad)
    if everyone.is_main_process:
        print(f"student in {out}")
    everyone.destroy_process_group()
