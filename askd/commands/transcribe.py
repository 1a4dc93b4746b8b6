"""``askd transcribe``: recordings of any length to text, JSON or subtitles."""

import argparse
import contextlib
import errno
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from askd.commands.options import at_least_one
from askd.errors import AskdError, AudioError
from askd.transcripts import FORMATS, Transcript, as_json, as_text, from_json, span

ABOUT = "recordings of any length to text, JSON or subtitles"
EXAMPLES = (
    "askd transcribe memo.wav\n"
    "  askd transcribe talk.mp3 --model runs/mine --timestamps\n"
    "  askd transcribe talk.mp3 --model runs/mine --format json | jq .parts\n"
    "  askd transcribe interviews/ talk.mp3 --model runs/mine --format srt vtt txt --out transcripts\n"
    "the same command again goes on where it was stopped; a further --format needs no model's time"
)
RESUMES = "with --out the same command goes on from the first recording that is not finished"
HOWS = ("auto", "sequential", "cut")
METHOD = 1  # of `askd.longform`: transcripts of another are made anew
STATE = ".askd"  # folder in --out: what is done, as JSON; other formats are made from it
BAR = "{desc} {percentage:3.0f}% |{bar}| {n:.0f}/{total:.0f} s of audio, {elapsed}, {remaining} left"


def add_arguments(p: argparse.ArgumentParser) -> None:
    """Options of the command."""
    p.add_argument("file", nargs="+", metavar="FILE", help="recordings, or folders: all audio files in and below them")
    p.add_argument("--model", default="tiny.en",
                   help="a folder of askd distill or askd train, RUN:METHOD, any Whisper folder, tiny.en, base, a Hub id "
                        "(default: tiny.en); our students hear each piece on its own length, others padded to 30 s")
    p.add_argument("--format", nargs="+", choices=FORMATS, default=["txt"], metavar="FORMAT",
                   help=f"{', '.join(FORMATS)}; several need --out (default: txt)")
    p.add_argument("--out", metavar="FOLDER", help="a file for each recording and format, instead of the terminal")
    p.add_argument("--how", choices=HOWS, default="auto",
                   help="sequential: in windows of 30 s by the model's own timestamps; cut: at pauses, for models without them "
                        "(default: as the model can). auto of tiny.en and base is sequential, of our students cut")
    p.add_argument("--timestamps", action="store_true", help="in txt: a line for each part, with its times; others have them")
    p.add_argument("--batch-size", type=int, default=16, metavar="N", help="pieces decoded together (default: 16)")
    p.add_argument("--max-new-tokens", type=int, default=128, metavar="N",
                   help="a piece's transcript is cut there, and you are warned (default: 128)")
    p.add_argument("--redo", action="store_true", help="make anew what is in --out already, and write over it")


@dataclass(frozen=True)
class _Job:
    path: Path
    stem: Path  # in --out, without the suffix of the format
    audio_s: float


def run(args: argparse.Namespace) -> int:
    """Carry out the command; the exit status is 1 when a recording could not be transcribed."""
    from askd.files import only_writer
    from askd.finished import named_model

    at_least_one(args, "batch_size", "max_new_tokens")
    args.format = list(dict.fromkeys(args.format))
    if not args.out and (given := "several --format" if len(args.format) > 1 else "--redo" if args.redo else ""):
        raise AskdError(f"{given} need --out FOLDER")
    model = named_model(args.model)
    jobs, bad = _jobs(args.file)
    if not args.out and len(jobs) > 1 and args.format[0] in ("srt", "vtt"):
        raise AskdError(f"subtitles of {len(jobs)} recordings need --out FOLDER: one file each")
    if args.out:
        _check_names(jobs)
    asked = len(jobs) + len(bad)
    with contextlib.ExitStack() as stack:
        if args.out and jobs:
            with _writing(args.out):
                stack.enter_context(only_writer(Path(args.out) / STATE))
        bad += _transcribed(jobs, model, args) if jobs else []
    if bad and asked > 1:
        _say(f"askd transcribe: {len(bad)} of {asked} not transcribed: {', '.join(bad)}")
    return 1 if bad else 0


def _jobs(files: Sequence[str]) -> tuple[list[_Job], list[str]]:
    """Recordings, each once, and the names of what cannot be transcribed, which is said at once."""
    from askd.audio import duration_s
    from askd.segments import SOUNDS, sound_files

    found: dict[Path, tuple[Path, Path]] = {}  # by real path: path as given, and where it lies in its folder
    bad = []
    for name in files:
        path = Path(name)
        inside = [(sound, sound.relative_to(path)) for sound in sound_files(path)] if path.is_dir() else [(path, Path(path.name))]
        if not path.exists():
            bad.append(_failed(name, f"{name}: no such file or folder"))
            continue
        if not inside:
            bad.append(_failed(name, f"{name}: no audio files ({', '.join(SOUNDS)}) in it or below"))
        for sound, relative in inside:
            found.setdefault(sound.resolve(), (sound, relative))
    turns = Counter(relative.with_suffix("") for _, relative in found.values())
    jobs = []
    for path, relative in found.values():
        stem = relative.with_suffix("")
        try:
            jobs.append(_Job(path, stem if turns[stem] == 1 else relative, duration_s(path)))  # a.wav beside a.mp3: a.wav.txt
        except AudioError as error:
            bad.append(_failed(path, error))
    return jobs, bad


def _failed(name: object, error: object) -> str:
    _say(f"askd transcribe: {error}")
    return str(name)


def _say(message: str, file=None) -> None:
    from tqdm.auto import tqdm

    tqdm.write(message, file=file or sys.stderr)
    (file or sys.stderr).flush()


def _check_names(jobs: Sequence[_Job]) -> None:
    """Refuse recordings whose transcripts would be one file."""
    names = {}
    for job in jobs:
        if (other := names.setdefault(job.stem, job)) is not job:
            raise AskdError(f"{other.path} and {job.path} would be written to files of one name, {job.stem}.*; name the folder "
                            "that both lie in, or take one --out for each")


@contextlib.contextmanager
def _writing(out: str):
    """Say in one line why a folder cannot be written to."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise  # the disk is full: askd.cli has words for it
        raise AskdError(f"--out {out} cannot be written to ({error.strerror}: {error.filename}); choose another folder") from None


def _transcribed(jobs: Sequence[_Job], name: str, args: argparse.Namespace) -> list[str]:
    """Transcribe what is not there yet; the names of recordings that failed."""
    from tqdm.auto import tqdm

    from askd.features import FULL_CONTEXT
    from askd.longform import transcribe_recording
    from askd.teacher import load_teacher
    from askd.timings import device_here

    model, processor = load_teacher(name)
    model.to(device_here())
    options = {"how": args.how, "frames": FULL_CONTEXT if args.how == "sequential" else "model",
               "max_new_tokens": args.max_new_tokens}
    made = _made(model, **options)
    formats = {form: (lambda t: as_text(t, True)) if form == "txt" and args.timestamps else FORMATS[form] for form in args.format}
    kept = _kept(jobs, Path(args.out), formats, made, args.redo) if args.out else {}
    bad, end_s = [], 0.0
    with tqdm(total=sum(job.audio_s for job in jobs), desc="transcribe", bar_format=BAR) as bar:
        for job in jobs:
            end_s += job.audio_s
            try:
                if (transcript := kept.get(job)) is None:
                    transcript = transcribe_recording(model, processor, job.path, batch_size=args.batch_size,
                                                      on_seconds=bar.update, **options)
                    about = {"file": str(job.path), "model": args.model, "made": made | _sound(job.path)}
                    transcript = replace(transcript, about=about)
                    _warn(job.path, transcript)
            except AskdError as error:
                bad.append(_failed(job.path, error))
            else:
                _deliver(job, transcript, formats, args, several=len(jobs) > 1)
            bar.update(max(0.0, end_s - bar.n))
    if args.out:
        there = f", {len(kept)} of them there already (--redo makes them anew)" if kept else ""
        print(f"{len(jobs) - len(bad)} transcripts in {args.out}{there}")
    return bad


def _made(model, how: str, frames: int | str, max_new_tokens: int) -> dict:
    """What a transcript depends on besides the sound."""
    from askd.decoding import decoding_settings
    from askd.longform import way
    from askd.targets import weights_digest

    return {"method": METHOD, "how": way(model, how, frames), "max_new_tokens": max_new_tokens, "weights": weights_digest(model),
            **decoding_settings(model, frames)}


def _sound(path: Path) -> dict:
    from askd.files import sha256

    return {"sound": sha256(path)}


def _kept(jobs: Sequence[_Job], out: Path, formats: dict[str, Callable], made: dict, redo: bool) -> dict[_Job, Transcript]:
    """Transcripts that are in ``out`` and were made so; with ``redo`` none.

    Raises:
        AskdError: a file that would be written over holds something else.
    """
    kept, other = {}, []
    for job in jobs:
        state = _beside(out / STATE, job, "json")
        with contextlib.suppress(AskdError, OSError, UnicodeDecodeError):  # none, or damaged: made anew
            transcript = from_json(state.read_text(encoding="utf-8"))
            if not redo and transcript.about.get("made") == made | _sound(job.path):
                kept[job] = transcript
        for form, write in formats.items():
            path = _beside(out, job, form)
            if path.is_dir():
                raise AskdError(f"{path} is a folder; take another --out")
            if path.exists() and not redo and not (job in kept and path.read_bytes() == write(kept[job]).encode()):
                other.append(path)
    if other:
        more = f" and {len(other) - 1} more" if len(other) > 1 else ""
        raise AskdError(f"{other[0]}{more} would be written over: of another model, other settings, another recording, or not "
                        "ours; take another --out FOLDER, or write over them with --redo")
    return kept


def _beside(folder: Path, job: _Job, form: str) -> Path:
    return folder / job.stem.with_name(f"{job.stem.name}.{form}")


def _deliver(job: _Job, transcript: Transcript, formats: dict[str, Callable], args: argparse.Namespace, several: bool) -> None:
    """Write the files of a transcript, each whole or not at all, or print it."""
    from askd.files import replacing

    if args.out:
        texts = {_beside(Path(args.out) / STATE, job, "json"): as_json(transcript)}  # first, so that it is known to be done
        texts |= {_beside(Path(args.out), job, form): write(transcript) for form, write in formats.items()}
        for path, text in texts.items():
            if not path.is_file() or path.read_bytes() != text.encode():
                with _writing(args.out), replacing(path) as scratch:
                    scratch.write_text(text, encoding="utf-8")
        return
    (form, write), = formats.items()
    text = as_json(transcript, indent=None) if form == "json" and several else write(transcript)
    if form == "txt" and several:
        text = f"{job.path}:" + ("\n" if args.timestamps else " ") + text
    _say(text.removesuffix("\n"), sys.stdout)


def _warn(path: Path, transcript: Transcript) -> None:
    if not transcript.text:
        silent = transcript.silence_s >= transcript.audio_s - 0.01
        _say(f"askd transcribe: note: {path}: {'digital silence, nothing to transcribe' if silent else 'no words heard'}")
    for part in transcript.parts:
        if not part.ended:
            _say(f"askd transcribe: warning: {path}, {span(part)}: cut at the limit of tokens, most often because the model "
                 "repeats itself there; listen to it")
