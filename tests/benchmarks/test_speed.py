"""Speed, measured and printed, never asserted: `make benchmarks`."""

import subprocess
import sys
import time

import numpy as np
import torch

from askd.channels import CHANNELS, get_channel
from askd.domains import domain_names, load_clips
from askd.features import encode, log_mels
from askd.flops import forward_flops, matmul_rate
from askd.teacher import load_teacher


def test_synthesis(tmp_path, monkeypatch):
    monkeypatch.setenv("ASKD_CACHE", str(tmp_path))
    start = time.perf_counter()
    names = domain_names("in_domain", "synthetic")
    clips = [c for name in names for c in load_clips(name, "train", 2000 // len(names))]
    taken = time.perf_counter() - start
    print(f"\n{len(clips)} clips, {sum(c.audio_s for c in clips) / 3600:.2f} h of speech in {taken:.0f} s (goal: 2,000 in 180 s)")


def test_features(tmp_path, monkeypatch):
    """Batched log-mel on the clips' own length against transformers' extractor, one clip at a time padded to 30 s."""
    clips = [clip.samples() for clip in load_clips("neural_clean", "train", 64)]
    extractor = load_teacher("tiny.en").processor.feature_extractor
    log_mels(clips[:16])
    start = time.perf_counter()
    log_mels(clips)
    ours = time.perf_counter() - start
    start = time.perf_counter()
    for clip in clips:
        extractor(clip, sampling_rate=16_000, return_tensors="pt")
    theirs = time.perf_counter() - start
    mean_s = np.mean([len(c) for c in clips]) / 16_000
    times = f"{1e3 * ours / 64:.2f} ms a clip against {1e3 * theirs / 64:.2f}, {theirs / ours:.1f}x (goal: 3x)"
    print(f"\n64 clips of {mean_s:.1f} s: {times}")


def test_memory_stays_flat():
    """Resident memory of clips -> features -> every batch, for 10 times the clips (Linux)."""
    code = """
import os, sys, torch
from askd.batches import batch_plan, collate, make_examples
from askd.domains import load_clips
from askd.teacher import load_teacher
model, processor = load_teacher("tiny.en")
def now(): return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
collate(make_examples(load_clips("formant_clean", "train", 16), model, processor), range(16))
before = peak = now()
clips = load_clips("formant_clean", "train", int(sys.argv[1]))
examples = make_examples(clips, model, processor)
for rows in batch_plan([e.frames for e in examples], 16, len(examples) // 16, 0):
    collate(examples, rows)
    peak = max(peak, now())
print(before, peak)
"""
    load_clips("formant_clean", "train", 1600)  # spoken beforehand: the pool's workers are not what is measured
    peaks = {}
    for count in (160, 1600):
        out = subprocess.run([sys.executable, "-c", code, str(count)], capture_output=True, text=True, check=True).stdout
        before, peaks[count] = map(float, out.split())
        print(f"\n{count} clips: {before:.0f} MB before, {peaks[count]:.0f} MB at the peak")
    print(f"growth {100 * (peaks[1600] / peaks[160] - 1):.1f} % for 10x the clips (goal: under 10 %)")


def test_channels():
    """Milliseconds of one core for 5 s of speech."""
    speech = np.resize(load_clips("neural_clean", "test", 1)[0].samples(), 80_000)
    talkers = [clip.samples() for clip in load_clips("formant_clean", "test", 8)]
    for name in CHANNELS:
        channel = get_channel(name)
        rng = np.random.default_rng(0)
        channel(speech, rng, lambda rng: talkers[int(rng.integers(8))])
        start = time.perf_counter()
        for _ in range(5):
            channel(speech, rng, lambda rng: talkers[int(rng.integers(8))])
        print(f"\n{name:12} {200 * (time.perf_counter() - start):6.1f} ms", end="")


def test_encoder_against_the_matrix_rate():
    model, _ = load_teacher("tiny.en")
    for dtype in (torch.float32, torch.bfloat16):
        rate = matmul_rate(dtype)
        for frames in (500, 3000):
            features = torch.randn(8, 80, frames)
            products = forward_flops(model.config, 8, frames, 0, 0).encoder
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
                encode(model, features)
                start = time.perf_counter()
                encode(model, features)
                taken = time.perf_counter() - start
            bound_ms = 1e3 * products / rate
            print(f"\n{dtype} {frames / 100:g} s x 8: {1e3 * taken:.0f} ms, bound {bound_ms:.0f} ms at {rate:.0f} GFLOP/s")
