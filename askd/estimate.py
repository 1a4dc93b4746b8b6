"""What a training run will cost, before it is started: operations, hours, memory, money. Arithmetic, not a measurement.

    askd train --profile paper --estimate --gpus 8
    askd train --profile gpu --estimate

A cached teacher is asked before the first step and not counted.
"""

from dataclasses import dataclass

from askd.errors import AskdError
from askd.features import FULL_CONTEXT
from askd.flops import forward_flops, training_flops
from askd.latency import TOKENS_PER_S
from askd.student import spread

# width and layers (encoder and decoder alike) of OpenAI's models, from the paper's Table 1 (arXiv 2212.04356)
SHAPES = {"tiny": (384, 4), "base": (512, 6), "small": (768, 12), "medium": (1024, 24), "large": (1280, 32)}
GPU_TFLOPS = 400.0  # bf16 that training reaches on an H100: 40 % of its 989. An assumption; ours
USD_PER_GPU_HOUR = 3.0  # an assumption; ours
FIXED_GB = 1.5  # CUDA context and kernels. An assumption; ours
CHUNK = 256  # tokens whose logits exist at once (askd/chunks.py)


@dataclass(frozen=True)
class Estimate:
    """Of one student."""

    pflop_per_step: float
    teacher_share: float  # of the operations
    hours: float
    gb_per_gpu: float
    usd: float
    gpus: int
    utterances: int

    def __str__(self) -> str:
        return (
            f"{self.utterances:,} utterances; {self.pflop_per_step:.3g} PFLOP a step, {100 * self.teacher_share:.0f} % of them "
            f"the teacher's; {self.hours:.2g} h on {self.gpus} GPU{'s' if self.gpus > 1 else ''}, about {self.gb_per_gpu:.0f} GB "
            f"each; ${self.usd:,.0f}"
        )


def shape(name: str):
    """`WhisperConfig` of a teacher: one of OpenAI's by its name, else its own config.json.

    >>> shape("openai/whisper-large-v2").encoder_layers
    32
    """
    from transformers import WhisperConfig

    from askd.teacher import model_folder

    short = name.rsplit("/", 1)[-1].removeprefix("whisper-")
    for known, (width, layers) in SHAPES.items():
        if short.split("-")[0].split(".")[0] == known:
            words = 51864 if short.endswith(".en") else 51866 if "v3" in short else 51865
            return WhisperConfig(
                d_model=width, encoder_layers=layers, decoder_layers=layers, encoder_ffn_dim=4 * width,
                decoder_ffn_dim=4 * width, num_mel_bins=128 if "v3" in short else 80, vocab_size=words,
            )
    return WhisperConfig.from_pretrained(model_folder(name))


def estimate(
    teacher: str, config, audio_s: float = 10.0, gpus: int = 1, tflops: float = GPU_TFLOPS, usd_per_hour: float = USD_PER_GPU_HOUR
) -> Estimate:
    """Count the operations of all steps and what each GPU has to hold.

    Args:
        teacher: as in `shape`.
        config: `askd.trainconfig.TrainConfig`.
        audio_s: mean length of an utterance.
        gpus: processes; they must divide the micro-batches.
        tflops: what one GPU reaches, in 10^12 operations a second.
        usd_per_hour: of one GPU.

    Raises:
        AskdError: the micro-batches cannot be dealt out to so many GPUs.
    """
    from copy import deepcopy

    if gpus < 1 or config.lanes % gpus:
        raise AskdError(f"{config.lanes} micro-batches a step cannot be dealt out to {gpus} GPUs evenly")
    large = shape(teacher)
    student = deepcopy(large)
    for part in ("encoder", "decoder"):
        layers = getattr(config, f"{part}_layers")
        if layers is not None:
            kept = len(layers) if not isinstance(layers, int) else len(spread(getattr(large, f"{part}_layers"), layers))
            setattr(student, f"{part}_layers", kept)
    tokens = round(TOKENS_PER_S * audio_s)
    frames = FULL_CONTEXT if config.context == "full" else round(100 * (audio_s + sum(config.pad_s) / 2))
    batch, curriculum = config.batch_size, config.curriculum()
    learnt = training_flops(student, batch, frames, tokens, batch * tokens, config.freeze_encoder, not config.train_vocabulary)
    if config.gradient_checkpointing:
        learnt += sum(forward_flops(student, batch, frames, tokens, 0))
    asked = forward_flops(large, batch, FULL_CONTEXT, tokens, batch * tokens)
    online = curriculum.needs_teacher and config.targets == "online"
    shared = config.freeze_encoder and config.context == "full" and config.encoder_layers is None
    teacher_step = (0 if shared else asked.encoder) + asked.decoder + asked.vocabulary if online else 0.0
    teacher_steps = config.steps * (curriculum.switch if curriculum.lambda_end == 0 else 1)
    own = forward_flops(student, batch, frames, tokens, batch * tokens)
    self_step = sum(own) - (own.encoder if config.freeze_encoder else 0) if curriculum.needs_self_teacher else 0.0
    self_steps = config.steps * (1 - curriculum.switch)
    total = config.steps * learnt + teacher_steps * teacher_step + self_steps * self_step
    seconds = total / (gpus * tflops * 1e12)
    return Estimate(
        total / config.steps / 1e15, teacher_steps * teacher_step / total, seconds / 3600,
        _gigabytes(large, student, config, frames, tokens), seconds / 3600 * gpus * usd_per_hour, gpus, batch * config.steps,
    )


def parameters(config) -> tuple[float, float, float]:
    """Weights of the encoder, the decoder's layers, and the vocabulary."""
    d = config.d_model
    encoder = 3 * d * config.num_mel_bins + 3 * d * d + 1500 * d
    encoder += config.encoder_layers * (4 * d * d + 2 * d * config.encoder_ffn_dim)
    return encoder, config.decoder_layers * (8 * d * d + 2 * d * config.decoder_ffn_dim), d * (config.vocab_size + 448)


def _gigabytes(large, student, config, frames: int, tokens: int) -> float:
    """fp32 weights (four times for what is trained: gradient and AdamW's two), teacher, self-teacher, activations in bf16."""
    encoder, decoder, vocabulary = parameters(student)
    trained = decoder + (0 if config.freeze_encoder else encoder) + (vocabulary if config.train_vocabulary else 0)
    weights = 4 * (encoder + decoder + vocabulary) + 12 * trained
    curriculum = config.curriculum()
    if curriculum.needs_self_teacher:
        weights += 4 * (encoder + decoder + vocabulary)
    if curriculum.needs_teacher and config.targets == "online":
        bytes_each = {"full": 4, "8bit": 1.1, "offload": 4 / large.encoder_layers, "fsdp": 4 / max(config.lanes, 1)}
        weights += bytes_each[config.teacher_memory] * sum(parameters(large))
    rows, inputs, d = config.micro_batch * frames / 2, config.micro_batch * tokens, student.d_model
    kept = 1 if config.gradient_checkpointing else 17  # tensors of width d that a layer keeps, 2 bytes each
    layers = (0 if config.freeze_encoder else student.encoder_layers) * rows + student.decoder_layers * (inputs + rows / 4)
    logits = 6 * 4 * min(inputs, CHUNK) * student.vocab_size
    return (weights + 2 * kept * layers * d + logits) / 1e9 + FIXED_GB
