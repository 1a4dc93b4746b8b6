"""ASKD: adaptive self-knowledge distillation for Whisper, as a tutorial and a small library.

>>> import askd
>>> model, processor = askd.load_teacher("tiny.en")          # doctest: +SKIP
>>> student = askd.make_student(model, decoder_layers=2)     # doctest: +SKIP
>>> askd.METHODS["askd"].weights(0.3)
Weights(label=0.6, teacher=0.4, self_teacher=0.0)
>>> askd.transcribe_recording(model, processor, "talk.mp3").text  # any length           # doctest: +SKIP

Importing costs nothing: names below are loaded on first use. Recipes: `askd.methods.METHODS`; losses:
`askd.losses`; schedules: `askd.schedules`; speech: `askd.domains`; training: `askd.training`.
"""

import importlib
import os

# Batches differ in length, and oneDNN would keep workspaces for a thousand lengths: 0.2 GB less here at the same speed (ours).
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "32")

__version__ = "0.1.0"

_WHERE = {
    "load_teacher": "teacher", "make_student": "student", "Curriculum": "curriculum", "METHODS": "methods",
    "TrainConfig": "trainconfig", "train": "training", "transcribe": "decoding", "load_clips": "domains",
    "transcribe_recording": "longform", "hypotheses": "evaluation", "wer_report": "wer", "Run": "runs", "AskdError": "errors",
}
__all__ = list(_WHERE)


def __getattr__(name: str):
    if name in _WHERE:
        return getattr(importlib.import_module(f"askd.{_WHERE[name]}"), name)
    raise AttributeError(f"module 'askd' has no attribute {name!r}")
