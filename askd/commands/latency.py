"""``askd latency``: how fast a student is beside its teacher, in the engines that people deploy."""

import argparse
from pathlib import Path

from askd.commands.options import add_source_options, at_least_one, source_options
from askd.errors import AskdError

ABOUT = "time a student, its teacher and what one would pick instead, interleaved, with their word error rates"
EXAMPLES = (
    "askd latency --student runs/cpu:askd\n"
    "  askd latency --student runs/four:askd runs/two:askd --name four two --peers base   # both in one run\n"
    "  askd latency --teacher tiny.en --student mine/ --peers base --engines transformers ct2 faster-whisper\n"
    "      --data neural_clean scottish_street --clips 40 --out latency.json --figure pareto.png\n"
    "  askd latency --student mine/ --engines compiled --batch 1 --audio-s 5 --repeats 5\n"
    "  askd latency --student mine/ --speculative               # mine drafts, the teacher checks: the teacher's words, sooner\n"
    "  askd latency --shape large-v2 --decoder-layers 32 16 8 4 2 --audio-s 5 30     # the paper's scale, random weights"
)
RESUMES = False
ENGINES = ("transformers", "generate", "ct2", "faster-whisper")
ALL_ENGINES = ("transformers", "generate", "compiled", "ct2", "faster-whisper")


def add_arguments(p: argparse.ArgumentParser) -> None:
    """Options of the command."""
    what = p.add_mutually_exclusive_group(required=True)
    what.add_argument("--student", nargs="+", metavar="MODEL",
                      help="tiny.en, base, a folder, RUN:METHOD or a Hub id; one or several")
    what.add_argument("--shape", metavar="SIZE", help="random weights of a size of Whisper (large-v2, medium, ...) instead")
    p.add_argument("--name", nargs="+", metavar="NAME",
                   help="what the tables call the students (default: student; of several, the last part of each)")
    p.add_argument("--teacher", default="tiny.en", metavar="MODEL", help="that it is compared with (default: tiny.en)")
    p.add_argument("--engines", nargs="+", default=ENGINES, metavar="ENGINE",
                   help=f"of {', '.join(ALL_ENGINES)} (default: all but compiled, which compiles for a minute)")
    p.add_argument("--peers", nargs="+", default=[], metavar="MODEL", help="stock models to time in faster-whisper, int8")
    p.add_argument("--audio-s", type=float, nargs="+", metavar="S",
                   help="lengths of clips with a fixed token count (default: 1 3 5 10 30; with --shape 5 30)")
    p.add_argument("--data", nargs="+", default=["neural_clean"], metavar="SOURCE",
                   help="test clips: declared domains, folders or hub:ID (default: neural_clean)")
    p.add_argument("--clips", type=int, default=20, help="of each source (default: 20)")
    add_source_options(p)
    p.add_argument("--batch", type=int, nargs="+", default=[1, 8], metavar="N", help="utterances a pass (default: 1 8)")
    p.add_argument("--repeats", type=int, metavar="N", help="rounds over a clip of fixed length (default: 20; with --shape 3)")
    p.add_argument("--clip-repeats", type=int, default=3, metavar="N", help="rounds over the test clips (default: 3)")
    p.add_argument("--speculative", action="store_true", help="instead: the student drafts for its teacher")
    p.add_argument("--decoder-layers", type=int, nargs="+", metavar="N",
                   help="of the students of --shape (default: all, a half, ... down to 2)")
    p.add_argument("--out", help="JSON file for everything, with its provenance")
    p.add_argument("--figure", help="PNG and SVG of word error rate against latency")


def run(args: argparse.Namespace) -> None:
    """Carry out the command."""
    import transformers

    from askd.engines import ENGINES as known
    from askd.errors import pick
    from askd.files import write_json
    from askd.runs import provenance

    _checked(args)
    transformers.logging.set_verbosity_error()  # its search comments on each clip
    for kind in args.engines:
        pick("engine", kind, known)  # a misspelt one is named before anything is loaded
    found = _shape(args) if args.shape else _speculative(args) if args.speculative else _compared(args)
    if args.out:
        write_json(args.out, found | {"provenance": provenance()})
        print(f"written to {args.out}")


def _checked(args: argparse.Namespace) -> None:
    """Defaults that depend on others; combinations that mean nothing.

    Raises:
        AskdError: the option is named.
    """
    if args.decoder_layers and not args.shape:
        raise AskdError("--decoder-layers belongs to --shape; a student has the layers it has")
    if args.figure and (args.shape or args.speculative):
        raise AskdError("--figure draws word error rates: it needs --student, and not --speculative")
    args.audio_s = args.audio_s or ([5, 30] if args.shape else [1, 3, 5, 10, 30])
    args.repeats = (3 if args.shape else 20) if args.repeats is None else args.repeats
    at_least_one(args, "clips", "repeats", "clip_repeats")
    for batch in args.batch:
        if batch < 1:
            raise AskdError(f"--batch must be at least 1, not {batch}")
    for length in args.audio_s:
        if not 0 < length <= 30:
            raise AskdError(f"--audio-s must be more than 0 and at most 30 s, Whisper's window, not {length:g}")


def _models(args: argparse.Namespace) -> tuple[dict, dict]:
    """Teacher and students, and the peers, by the names of the tables."""
    from askd.finished import named_model
    from askd.teacher import load_teacher

    named = {name: named_model(name) for name in (args.teacher, *args.student, *args.peers)}  # misspelt ones before any is loaded
    called = args.name or [last_part(name) if len(args.student) > 1 else "student" for name in args.student]
    if len(called) != len(args.student):
        raise AskdError(f"{len(called)} --name for {len(args.student)} --student")
    peer_names = [last_part(name) for name in args.peers]
    every = ["teacher", *called, *peer_names]
    if len(set(every)) < len(every):
        raise AskdError(f"the tables would call models {', '.join(every)}: names must differ (--name)")
    students, peers = dict(zip(called, args.student, strict=True)), dict(zip(peer_names, args.peers, strict=True))
    models = {"teacher": load_teacher(named[args.teacher])}
    models |= {name: load_teacher(named[model]) for name, model in students.items()}
    return models, {name: load_teacher(named[model]) for name, model in peers.items()}


def last_part(model: str) -> str:
    """What a model is called where nobody named it.

    >>> last_part("runs/mine/two/"), last_part("openai/whisper-tiny.en"), last_part("runs/real:askd")
    ('two', 'whisper-tiny.en', 'askd')
    """
    return model.rstrip("/").replace(":", "/").rpartition("/")[2]


def _clips(args: argparse.Namespace) -> list:
    from askd.audio import MAX_AUDIO_S
    from askd.evaluation import scored_clips

    found = [c for source in args.data for c in scored_clips(source, None, args.clips, progress=True, **source_options(args))]
    usable = [clip for clip in found if clip.audio_s <= MAX_AUDIO_S]
    if len(usable) < len(found):
        print(f"left out: {len(found) - len(usable)} recordings longer than {MAX_AUDIO_S:g} s")
    return usable


def _compared(args: argparse.Namespace) -> dict:
    from askd import latencybound, latencyparts, latencyreport
    from askd.engines import Transformers
    from askd.latency import TOKENS_PER_S, of_length

    models, peers = _models(args)
    clips = _clips(args)
    report = latencyreport.compare(models, clips, args.engines, peers, args.audio_s, args.batch, args.repeats, args.clip_repeats,
                                   progress=True)
    print(latencyreport.as_text(report))
    spoken, length = clips[0].samples(), min(args.audio_s, key=lambda s: abs(s - 5))
    clip, tokens = of_length(spoken, length), max(2, round(TOKENS_PER_S * length))
    teacher, *students = models
    last = "ct2" if "ct2" in args.engines else None
    report["parts"] = {
        name: latencyparts.speedup_parts(models[teacher], models[name], [clip], [tokens], args.repeats, last, progress=True)
        for name in students if models[name].model.config.d_model == models[teacher].model.config.d_model
    }
    for name, parts in report["parts"].items():
        print(f"\nWhere the speed of {name} comes from: {length:g} s, {tokens} tokens, batch 1\n{latencyparts.as_text(parts)}")
    report["bound"] = [latencybound.against_bound(Transformers(model, name), clip, tokens, repeats=args.repeats)
                       for name, model in models.items()]
    print(f"\nHow near to what this machine could do\n{latencybound.as_text(report['bound'])}")
    if args.figure:
        from askd.figures import save
        from askd.latencyfigures import pareto

        save(pareto(report), Path(args.figure))
    return report | _about(args)


def _about(args: argparse.Namespace) -> dict:
    return {"names": {"teacher": args.teacher, "students": list(args.student)}, "data": list(args.data), "clips": args.clips}


def _speculative(args: argparse.Namespace) -> dict:
    from askd.speculative import as_text, measure_speculative

    (_, teacher), *students = _models(args)[0].items()
    samples, found = [clip.samples() for clip in _clips(args)], {}
    for name, student in students:
        found[name] = measure_speculative(teacher.model, student.model, samples, args.clip_repeats, progress=True)
        print(f"{name} drafts\n{as_text(found[name])}")
    return {"speculative": found} | _about(args)


def _shape(args: argparse.Namespace) -> dict:
    from askd.latencyshapes import as_text, shape_speedup

    found = shape_speedup(args.shape, args.decoder_layers, args.audio_s, args.repeats, progress=True)
    print(as_text(found))
    return found
