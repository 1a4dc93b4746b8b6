"""What the notebooks need beside the package proper: quiet libraries, players, tables."""

import base64
import html
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version

import numpy as np


def quiet() -> None:
    """Silence the libraries' chatter and make arithmetic repeatable, so that a cell prints what it means to."""
    import warnings

    import torch
    import transformers

    warnings.filterwarnings("ignore")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.manual_seed(0)


def versions(*names: str) -> str:
    """``name version`` of the given packages, for the first cell."""
    return ", ".join(f"{name} {version(name)}" for name in names)


def table(header: Sequence[str], rows: Iterable[Sequence], digits: int = 1) -> str:
    """An aligned text table: numbers to the right, with ``digits`` decimals; None is a dash."""
    def cell(value) -> str:
        if value is None:
            return "-"
        return f"{value:.{digits}f}" if isinstance(value, float | np.floating) else str(value)

    rows = [[cell(v) for v in row] for row in rows]
    widths = [max(len(row[i]) for row in [list(header), *rows]) for i in range(len(header))]
    lines = ["  ".join(v.ljust(w) if i == 0 else v.rjust(w) for i, (v, w) in enumerate(zip(row, widths, strict=True)))
             for row in [list(header), *rows]]
    return "\n".join(line.rstrip() for line in lines)


def _mp3(samples: np.ndarray) -> bytes:
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(
        buffer, np.asarray(samples, np.float32), 16_000, format="MP3", subtype="MPEG_LAYER_III", compression_level=0.95
    )
    return buffer.getvalue()


def _player(samples: np.ndarray) -> str:
    sound = base64.b64encode(_mp3(samples)).decode()
    return f"<audio controls preload='none' style='width:220px' src='data:audio/mpeg;base64,{sound}'></audio>"


def players(samples: Sequence[np.ndarray], captions: Sequence[str]):
    """Audio players with captions, one a line; compressed, so that the notebook stays small.

    Returns:
        an `IPython.display.HTML`.
    """
    from IPython.display import HTML

    rows = "".join(
        f"<tr><td style='text-align:left'>{html.escape(caption)}</td><td>{_player(clip)}</td></tr>"
        for clip, caption in zip(samples, captions, strict=True)
    )
    return HTML(f"<table>{rows}</table>")


def marked(reference: str, hypothesis: str, teacher: str | None = None, words: int = 40) -> str:
    """A hypothesis as HTML after normalisation: wrong words red, left-out ones as a dash; those that the teacher's hypothesis has
    wrong in the same way red on yellow. Cut after ``words`` words, since loops are long."""
    from askd.scoring import align

    own = align([reference], [hypothesis])[0]
    theirs = align([reference], [teacher])[0].heard if teacher is not None else [""] * len(own.heard)
    parts = []
    for i, inserted in enumerate(own.inserted):
        parts += [f"<span style='color:#c0392b'>{html.escape(word)}</span>" for word in inserted]
        if i < len(own.heard):
            said, heard = own.reference[i], own.heard[i]
            copied = ";background:#fff3b0" if heard != said and heard == theirs[i] else ""
            shown = "\u2013" if heard is None else html.escape(heard)
            parts.append(shown if heard == said else f"<span style='color:#c0392b{copied}'>{shown}</span>")
    return " ".join(parts[:words]) + (" ..." if len(parts) > words else "")


def errors_to_hear(
    samples: Sequence[np.ndarray], references: Sequence[str], written: Mapping[str, Sequence[str]], groups: Sequence[str],
    copied_from: str | None = None,
):
    """A browsable table with audio: what was said, what each model wrote, a fold for each group.

    Args:
        samples: sound of each utterance.
        references: what was said.
        written: by model, its hypothesis of each utterance.
        groups: fold of each utterance, its domain say; the first two are open.
        copied_from: the model whose errors are marked yellow where others repeat them.

    Returns:
        an `IPython.display.HTML`.
    """
    from IPython.display import HTML

    folds = []
    for group in dict.fromkeys(groups):
        rows = []
        for i in (i for i, name in enumerate(groups) if name == group):
            teacher = {name: written[copied_from][i] if copied_from and name != copied_from else None for name in written}
            lines = "".join(
                f"<div><b>{html.escape(name)}</b> {marked(references[i], texts[i], teacher[name])}</div>"
                for name, texts in written.items()
            )
            said = f"<div><i>{html.escape(references[i])}</i></div>"
            rows.append(f"<tr><td>{_player(samples[i])}</td><td style='text-align:left'>{said}{lines}</td></tr>")
        head = f"<details{' open' if len(folds) < 2 else ''}><summary>{html.escape(group)}: {len(rows)}</summary>"
        folds.append(f"{head}<table>{''.join(rows)}</table></details>")
    return HTML("".join(folds))
