"""What the notebooks need beside the package proper: quiet libraries, players, tables."""

import base64
import html
import io
import os
from collections.abc import Iterable, Sequence
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


def players(samples: Sequence[np.ndarray], captions: Sequence[str]):
    """Audio players with captions, one a line; compressed, so that the notebook stays small.

    Returns:
        an `IPython.display.HTML`.
    """
    from IPython.display import HTML

    rows = "".join(
        f"<tr><td style='text-align:left'>{html.escape(caption)}</td><td><audio controls preload='none' "
        f"src='data:audio/mpeg;base64,{base64.b64encode(_mp3(clip)).decode()}'></audio></td></tr>"
        for clip, caption in zip(samples, captions, strict=True)
    )
    return HTML(f"<table>{rows}</table>")
