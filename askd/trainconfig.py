"""Settings of a training run, checked when they are made."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace

import torch

from askd.curriculum import Curriculum
from askd.errors import AskdError
from askd.methods import get_method

RUNTIME = ("checkpoint_every", "workers", "track")  # settings that change nothing in the student


@dataclass(frozen=True)
class TrainConfig:
    """Settings of one run. Where no source is named, a default is ours and not tuned.

    Raises:
        AskdError: a field out of range, named.
    """

    method: str = "askd"  # a name in askd.methods.METHODS
    overrides: dict = field(default_factory=dict)  # fields of Curriculum to change, e.g. {"schedule": "cosine"}
    decoder_layers: int | tuple[int, ...] | None = 2
    encoder_layers: int | tuple[int, ...] | None = None
    steps: int = 300
    batch_size: int = 16  # clips an optimiser step
    micro_batch_size: int | None = None  # clips a forward pass of one process; None: the whole batch
    encoder_lr: float = 5e-5
    decoder_lr: float = 2e-4
    warmup: float = 0.1  # share of the steps
    freeze_encoder: bool = False  # distil-whisper freezes it; one encoder pass then serves student and self-teacher
    train_vocabulary: bool = False  # half of a small Whisper; frozen, a step is a fifth faster and rare words are kept (ours)
    weight_decay: float = 0.0  # distil-whisper
    clip_norm: float = 1.0  # distil-whisper
    temperature: float = 2.0  # distil-whisper
    top_k: int = 64
    momentum: float = 0.99  # of the EMA self-teacher
    final: str = "last"  # which weights are the student at the end: last: of the last step; ema: their moving average
    start_share: float = 0.0  # of the start's weights mixed into the student at the end (WiSE-FT, arXiv 2109.01903)
    spec_augment: bool = False  # mask bands and stretches of what the student hears (SpecAugment, arXiv 1904.08779)
    context: str = "clip"  # what the student hears: clip: its own length; full: 30 s, as Whisper and distil-whisper
    pad_s: tuple[float, float] = (0.2, 2.0)  # random trailing silence of the clip's context, seconds
    targets: str = "cached"  # the teacher's answers: cached: once for all runs; online: in every step (distil-whisper)
    teacher_memory: str = "full"  # full | 8bit | offload | fsdp, see askd/bigteacher.py
    precision: str = "auto"  # auto | fp32 | bf16
    gradient_checkpointing: bool = False  # activations are computed twice and not kept
    compile: bool = False  # torch.compile, layer by layer
    seed: int = 0
    checkpoint_every: int = 50  # steps
    dev_every: int = 25  # steps
    dev_wer_every: int = 0  # steps between transcripts of the dev clips; 0: none. It takes longer than their cross-entropy
    workers: int = 1  # processes that read ahead
    track: str = "tensorboard"  # where curves go: tensorboard, wandb, mlflow, several with commas, or none

    def __post_init__(self):
        for name, kind in {f.name: f.type for f in fields(self)}.items():
            if kind in (int, float):
                self._number(name, kind)
        for name in ("freeze_encoder", "train_vocabulary", "spec_augment", "gradient_checkpointing", "compile"):
            if not isinstance(getattr(self, name), bool):
                raise AskdError(f"{name} must be true or false, not {getattr(self, name)!r}")
        if not isinstance(self.overrides, Mapping):
            raise AskdError(f"overrides must be a mapping of curriculum fields, not {self.overrides!r}")
        self.curriculum()  # checks method and overrides
        positive = ("steps", "batch_size", "encoder_lr", "decoder_lr", "temperature", "clip_norm", "top_k", "checkpoint_every",
                    "dev_every")
        for name in positive:
            if not getattr(self, name) > 0:
                raise AskdError(f"{name} must be positive, not {getattr(self, name)}")
        for name in ("weight_decay", "seed", "workers", "dev_wer_every"):
            if getattr(self, name) < 0:
                raise AskdError(f"{name} must be 0 or more, not {getattr(self, name)}")
        for name in ("warmup", "momentum", "start_share"):
            if not 0 <= getattr(self, name) < 1:
                raise AskdError(f"{name} must lie in [0, 1), not {getattr(self, name)}")
        if not isinstance(self.pad_s, list | tuple) or not all(isinstance(x, int | float) for x in self.pad_s):
            raise AskdError(f"pad_s must be two lengths in seconds, such as [0.2, 2.0], not {self.pad_s!r}")
        if len(self.pad_s) != 2 or not 0 <= self.pad_s[0] <= self.pad_s[1]:
            raise AskdError(f"pad_s must be two lengths in seconds, the shorter first, not {self.pad_s}")
        choices = {"precision": ("auto", "fp32", "bf16"), "context": ("clip", "full"), "targets": ("cached", "online"),
                   "final": ("last", "ema"),
                   "teacher_memory": ("full", "8bit", "offload", "fsdp")}
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise AskdError(f"{name} must be one of {', '.join(known)}, not {getattr(self, name)!r}")
        if self.teacher_memory == "fsdp" and self.targets == "cached":
            raise AskdError("a sharded teacher answers all processes at once: teacher_memory fsdp needs targets online")
        if self.spec_augment and self.targets == "online":
            raise AskdError("spec_augment hides sound from the student alone, and an online teacher hears the same: set targets "
                            "cached")
        if self.micro_batch_size is not None:
            self._number("micro_batch_size", int)
        if self.micro_batch_size is not None and not 0 < self.micro_batch_size <= self.batch_size:
            raise AskdError(f"micro_batch_size must lie in [1, {self.batch_size}] (the batch), not {self.micro_batch_size}")

    def _number(self, name: str, kind: type) -> None:
        """Turn what YAML and the command line give, such as the string 1e-4, into a number."""
        value = getattr(self, name)
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number) or isinstance(value, bool) or (kind is int and number != int(number)):
            raise AskdError(f"{name} must be {'a whole number' if kind is int else 'a number'}, not {value!r}")
        object.__setattr__(self, name, kind(number))

    @property
    def micro_batch(self) -> int:
        """Clips a forward pass of one process."""
        return self.micro_batch_size or self.batch_size

    @property
    def lanes(self) -> int:
        """Micro-batches a step, over all processes."""
        return -(-self.batch_size // self.micro_batch)

    def recorded(self) -> dict:
        """The settings that decide what comes out, as JSON holds them; a run that differs in the others may go on."""
        config = {name: value for name, value in asdict(self).items() if name not in RUNTIME}
        return json.loads(json.dumps({"config": config, "curriculum": asdict(self.curriculum())}))

    def curriculum(self) -> Curriculum:
        """The method's curriculum with the overrides applied."""
        unknown = set(map(str, self.overrides)) - set(Curriculum.__dataclass_fields__)
        if unknown:
            known = ", ".join(Curriculum.__dataclass_fields__)
            raise AskdError(f"unknown curriculum field {', '.join(sorted(unknown))}: known are {known}")
        return replace(get_method(self.method), **self.overrides)


def fast_precision(device: torch.device) -> str:
    """``bf16`` where the hardware multiplies it natively (CUDA >= Ampere, AVX512-BF16, AMX), else ``fp32``."""
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    if device.type == "cpu":
        native = getattr(torch.cpu, "_is_avx512_bf16_supported", bool)() or getattr(torch.cpu, "_is_amx_tile_supported", bool)()
        return "bf16" if native else "fp32"
    return "fp32"
