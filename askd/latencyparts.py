"""Where a speed-up comes from: the way from the teacher to the student, one change at a time.

    rows = speedup_parts(teacher, student, samples, tokens)
    print(as_text(rows))

    teacher on 30 s  ->  on the clip's own context  ->  fewer encoder layers  ->  fewer decoder layers  ->  another engine

Latency does not depend on the values of the weights, so the steps between are cuts of the teacher. The factors multiply to the
whole; how much each one gets depends on their order, so this order is always the same.
"""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from askd.decoding import context_frames, use_clip_context
from askd.engines import Engine, Transformers, make_engine
from askd.errors import AskdError
from askd.latency import measure
from askd.notebook import table
from askd.student import make_student
from askd.teacher import Recogniser


def speedup_parts(
    teacher: Recogniser, student: Recogniser, samples: Sequence[np.ndarray], tokens: Sequence[int], repeats: int = 5,
    last: str | None = "ct2", scratch: Path | str | None = None, progress: bool = False,
) -> list[dict]:
    """Time the steps from teacher to student, interleaved, batch 1, fixed token counts; steps that change nothing are left out.

    Args:
        teacher, student: of the same width.
        samples: clips (n,), float32 at 16 kHz.
        tokens: of each clip.
        repeats: rounds over the clips that count.
        last: engine of the last step; None stays in ours.
        scratch: where the conversion is kept; default a temporary folder.

    Returns:
        one row a step: change, engine, features_ms, encoder_ms, p50_ms, mean_ms, times (as fast as the step before), of_teacher.

    Raises:
        AskdError: of different width, or clips that engines refuse.
    """
    shape, cut = teacher.model.config, student.model.config
    if shape.d_model != cut.d_model:
        raise AskdError(f"the student is {cut.d_model} wide and the teacher {shape.d_model}: only a student cut from its teacher "
                        "can be split into layers and context")
    layers = {"encoder": shape.encoder_layers, "decoder": shape.decoder_layers}
    clip = context_frames(teacher.model) is None
    steps: list[Engine] = [Transformers(teacher, "teacher")]

    def add(change: str) -> None:
        model = make_student(teacher.model, layers["decoder"], layers["encoder"]).eval()
        if clip:
            use_clip_context(model)
        steps.append(Transformers(Recogniser(model, teacher.processor), change))

    if not clip and context_frames(student.model) is None:
        clip = True
        add("clip's own context")
    for part, there in (("encoder", cut.encoder_layers), ("decoder", cut.decoder_layers)):
        if there != layers[part]:
            change = f"{there} of {layers[part]} {part} layers"
            layers[part] = there
            add(change)
    with tempfile.TemporaryDirectory() as temporary:
        if last:
            model = Recogniser(steps[-1].model, teacher.processor)
            steps.append(make_engine(last, model, f"engine {last}", scratch or temporary))
        measured = measure(steps, samples, 1, tokens, repeats, label="parts", progress=progress)
    return _with_factors(measured)


def _with_factors(measured: Sequence[Mapping]) -> list[dict]:
    kept = ("engine", "features_ms", "encoder_ms", "p50_ms", "mean_ms")
    return [
        {
            "change": row["model"], **{name: row[name] for name in kept}, "times": round(before["mean_ms"] / row["mean_ms"], 2),
            "of_teacher": round(measured[0]["mean_ms"] / row["mean_ms"], 2),
        }
        for before, row in zip([measured[0], *measured], measured, strict=False)
    ]


def as_text(rows: Sequence[Mapping]) -> str:
    """The steps as a table."""
    header = ["step", "encoder ms", "total ms", "times the step before", "times the teacher"]
    return table(header, [[r[k] for k in ("change", "encoder_ms", "mean_ms", "times", "of_teacher")] for r in rows], digits=2)
