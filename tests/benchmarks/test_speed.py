"""Speed, measured and printed, never asserted: `make benchmarks`."""

import time

import numpy as np
import torch

from askd.bootstrap import paired_bootstrap
from askd.domains import domain_names, load_clips
from askd.features import encode
from askd.teacher import load_teacher


def matmul_rate(dtype, n=2048, repeats=10) -> float:
    """GFLOP/s of square matrix products: the bound for everything that trains here."""
    a, b = (torch.randn(n, n).to(dtype) for _ in range(2))
    a @ b
    start = time.perf_counter()
    for _ in range(repeats):
        a @ b
    return repeats * 2 * n**3 / (time.perf_counter() - start) / 1e9


def test_synthesis(tmp_path, monkeypatch):
    monkeypatch.setenv("ASKD_CACHE", str(tmp_path))
    start = time.perf_counter()
    clips = [c for name in domain_names("in_domain") for c in load_clips(name, "train", 286)]
    taken = time.perf_counter() - start
    print(f"\n{len(clips)} clips, {sum(c.audio_s for c in clips) / 3600:.2f} h of speech in {taken:.0f} s (goal: 2,000 in 180 s)")


def test_encoder_against_the_matrix_rate():
    model, _ = load_teacher("tiny.en")
    d, layers = model.config.d_model, model.config.encoder_layers
    for dtype in (torch.float32, torch.bfloat16):
        rate = matmul_rate(dtype)
        for frames in (500, 3000):
            features, positions = torch.randn(8, 80, frames), frames // 2
            per_position = layers * (24 * d * d + 4 * positions * d) + 2 * 3 * 80 * d * 2 + 2 * 3 * d * d  # FLOP
            products = 8 * positions * per_position
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
                encode(model, features)
                start = time.perf_counter()
                encode(model, features)
                taken = time.perf_counter() - start
            bound_ms = products / rate / 1e6
            print(f"\n{dtype} {frames / 100:g} s x 8: {1e3 * taken:.0f} ms, bound {bound_ms:.0f} ms at {rate:.0f} GFLOP/s")


def test_scoring_and_bootstrap():
    rng = np.random.default_rng(0)
    words = np.array("the of and to in is was that for on with as his they be at one have this from".split())
    rows = [
        {"domain": "a", "id": str(i), "speaker": str(i % 500), "reference": " ".join(rng.choice(words, 15)),
         "hypothesis": " ".join(rng.choice(words, 15))}
        for i in range(5000)
    ]
    start = time.perf_counter()
    paired_bootstrap(rows, rows, resamples=1)
    scored = time.perf_counter()
    paired_bootstrap(rows, rows, resamples=10_000)
    both = time.perf_counter() - scored
    print(f"\n5,000 utterances of two models scored in {scored - start:.1f} s; again with 10,000 resamples {both:.1f} s")
