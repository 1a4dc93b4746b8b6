"""How long things take on this machine: what a plan is made of (askd/plan.py)."""

import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from askd.owndata import evenly

MEASURED = {"steps": 4, "clips": 4}  # training steps, of which the first one only warms up, and clips to transcribe. Ours
LONGER = 1.3  # transcripts that run on make scoring longer than equal token counts do. Ours


@dataclass(frozen=True)
class Timings:
    """Seconds on this machine, measured."""

    target_s: float  # the teacher's answers for a training clip
    step_s: float  # an optimiser step, the phases weighted by their length
    test_s: float  # transcribing a test clip, by teacher and student together
    one_s: float  # the same, a clip at a time
    spent_s: float  # measuring
    read_s: float = 0.0  # finding and decoding the recordings


def measure_machine(fields: dict, clips: Sequence, test: Sequence, model, processor, device) -> Timings:
    """Time the teacher's answers, a few real training steps and a few transcripts; nothing is kept."""
    from askd.latency import measure
    from askd.runlogs import read_speed
    from askd.teacher import load_teacher
    from askd.trainconfig import TrainConfig
    from askd.training import train

    began = time.perf_counter()
    steps = MEASURED["steps"]
    config = TrainConfig(**fields, steps=steps, dev_every=steps + 1, checkpoint_every=steps + 1)
    with tempfile.TemporaryDirectory() as scratch:
        student = train(config, model, processor, typical(clips, config.batch_size), Path(scratch) / "s", progress=False)
        curriculum, seconds = config.curriculum(), {"A": [], "B": []}
        for row in read_speed(student)[1:]:  # the first one warms up
            seconds[curriculum.phase((row["step"] - 1) / steps)].append(row["seconds"])
        step_a = float(np.mean(seconds["A"]))
        step_b = float(np.mean(seconds["B"])) if seconds["B"] else step_a
        models = {"teacher": model.to(device), "student": load_teacher(student).model.to(device)}
    target_s = _target_s(models["teacher"], processor, evenly(clips, 8), config.precision)
    heard = evenly(test, MEASURED["clips"])
    samples = [clip.samples() for clip in heard]
    tokens = [len(processor.tokenizer(clip.text).input_ids) for clip in heard]
    many = measure(models, samples, len(heard), tokens, repeats=1, warmup=0)
    one = measure(models, samples[:2], 1, tokens[:2], repeats=1, warmup=0)
    return Timings(
        target_s, curriculum.switch * step_a + (1 - curriculum.switch) * step_b,
        LONGER * sum(row["mean_ms"] for row in many) / 1e3 / len(heard), sum(row["mean_ms"] for row in one) / 1e3,
        time.perf_counter() - began,
    )


def typical(clips: Sequence, count: int) -> list:
    """Clips of similar length, the longest of about the mean: training batches are so, and so costs a mean step."""
    by_length = sorted(clips, key=lambda clip: clip.audio_s)
    mean = sum(clip.audio_s for clip in clips) / len(clips)
    last = min(range(count - 1, len(clips)), key=lambda i: abs(by_length[i].audio_s - mean))
    return by_length[last - count + 1 : last + 1]


def _target_s(model, processor, clips, precision: str) -> float:
    """Seconds a clip of the teacher's answers: one pass over the padded 30 s and the transcript."""
    import torch

    from askd.features import FULL_CONTEXT, log_mels, pad_features

    began = time.perf_counter()
    device = next(model.parameters()).device
    features = pad_features(log_mels([clip.samples() for clip in clips], model.config.num_mel_bins), FULL_CONTEXT).to(device)
    length = max(len(processor.tokenizer(clip.text).input_ids) for clip in clips)
    tokens = torch.zeros(len(clips), length, dtype=torch.long, device=device)
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
        model(input_features=features, decoder_input_ids=tokens).logits.float().sum().item()
    return (time.perf_counter() - began) / len(clips)


def device_here():
    """The device that accelerate would train on."""
    from accelerate import PartialState

    return PartialState().device


def free_memory() -> float:
    """Bytes that this process could still take, on the GPU where there is one."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.mem_get_info()[0]
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            return next(1024 * int(line.split()[1]) for line in file if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return 0.5 * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
