"""``askd latency``: how fast a student is beside its teacher."""

import argparse

ABOUT = "time a student against its teacher, interleaved, batch 1 and N"
EXAMPLES = "askd latency --student runs/cpu/students/askd\n  askd latency --teacher base --student my-student --batch 1 8"
RESUMES = False


def add_arguments(p: argparse.ArgumentParser) -> None:
    """Options of the command."""
    p.add_argument("--teacher", default="tiny.en")
    p.add_argument("--student", required=True)
    p.add_argument("--audio-s", type=float, nargs="+", default=[1, 3, 5, 10, 30])
    p.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    p.add_argument("--repeats", type=int, default=20)
    p.add_argument("--out", help="JSON file for the rows")


def run(args: argparse.Namespace) -> None:
    """Carry out the command."""
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
