"""Settings of a training run, checked when they are made."""

from dataclasses import dataclass, field, replace

import torch

from askd.curriculum import Curriculum, get_method
from askd.errors import AskdError


@dataclass(frozen=True)
class TrainConfig:
    """Settings of one run. Where no source is named, a default is ours and not tuned.

    Raises:
        AskdError: a field out of range, named.
    """

    method: str = "askd"  # a name in askd.curriculum.METHODS
    overrides: dict = field(default_factory=dict)  # fields of Curriculum to change, e.g. {"schedule": "cosine"}
    decoder_layers: int | tuple[int, ...] | None = 2
    encoder_layers: int | tuple[int, ...] | None = None
    steps: int = 300
    batch_size: int = 16  # clips an optimiser step
    micro_batch_size: int | None = None  # clips a forward pass; None: the whole batch
    encoder_lr: float = 5e-5
    decoder_lr: float = 2e-4
    warmup: float = 0.1  # share of the steps
    train_vocabulary: bool = False  # half of a small Whisper; frozen, a step is a fifth faster and rare words are kept (ours)
    weight_decay: float = 0.0  # distil-whisper
    clip_norm: float = 1.0  # distil-whisper
    temperature: float = 2.0  # distil-whisper
    top_k: int = 64
    momentum: float = 0.99  # of the EMA self-teacher
    pad_s: tuple[float, float] = (0.2, 2.0)  # random trailing silence of the student's context, seconds
    precision: str = "auto"  # auto | fp32 | bf16
    seed: int = 0
    checkpoint_every: int = 50  # steps
    dev_every: int = 25  # steps

    def __post_init__(self):
        self.curriculum()  # checks method and overrides
        positive = ("steps", "batch_size", "encoder_lr", "decoder_lr", "temperature", "checkpoint_every", "dev_every")
        for name in positive:
            if not getattr(self, name) > 0:
                raise AskdError(f"{name} must be positive, not {getattr(self, name)}")
        if self.precision not in ("auto", "fp32", "bf16"):
            raise AskdError(f"precision must be auto, fp32 or bf16, not {self.precision!r}")
        if not 0 <= self.warmup < 1:
            raise AskdError(f"warmup must lie in [0, 1), not {self.warmup}")

    def curriculum(self) -> Curriculum:
        """The method's curriculum with the overrides applied."""
        unknown = set(self.overrides) - set(Curriculum.__dataclass_fields__)
        if unknown:
            known = ", ".join(Curriculum.__dataclass_fields__)
            raise AskdError(f"unknown curriculum field {', '.join(sorted(unknown))}: known are {known}")
        return replace(get_method(self.method), **self.overrides)


def fast_precision(device: torch.device) -> str:
    """``bf16`` where the hardware multiplies it natively (CUDA >= Ampere, AVX512-BF16, AMX), else ``fp32``."""
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    if device.type == "cpu":
        native = getattr(torch.cpu, "_is_avx512_bf16_supported", bool)() or getattr(torch.cpu, "_is_amx_tile_supported", bool)()
        return "bf16" if native else "fp32"
    return "fp32"
