"""Peak memory of the loss at Whisper's vocabulary: all logits at once against a chunk at a time.

`pytest -s tests/benchmarks/test_loss_memory.py`, about a minute on one core. Goal: at most a quarter of the memory.

Each way runs in a process of its own (`python test_loss_memory.py naive|chunked`), in fp32, from the hidden states of student,
teacher and self-teacher at B = 16, L = 128, V = 51,865, d = 384 (Whisper tiny): 0.2 CE + 0.5 KL(teacher || student) + 0.3
KL(self-teacher || student) over the whole vocabulary, and its gradient down to the hidden states; the projection is frozen, as
ASKD trains by default. What the process held before the loss is subtracted.
"""

import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F

B, L, V, D, TAU = 16, 128, 51_865, 384, 2.0
GOAL = 0.25


def naive(states, weight, labels):
    """What one writes first: three (B, L, V) tensors of logits."""
    student = states["student"] @ weight.T  # (B, L, V)
    with torch.no_grad():
        teachers = [states[name] @ weight.T for name in ("teacher", "self")]
    loss = 0.2 * F.cross_entropy(student.flatten(0, 1), labels.flatten())
    log_q = F.log_softmax(student / TAU, -1)
    for share, teacher in zip((0.5, 0.3), teachers, strict=True):
        per_token = F.kl_div(log_q, F.log_softmax(teacher / TAU, -1), reduction="none", log_target=True).sum(-1)  # (B, L)
        loss = loss + share * TAU**2 * per_token.mean()
    return loss


def chunked(states, weight, labels):
    from askd.chunks import chunked_loss
    from askd.losses import cross_entropy, distillation

    flat, labels = {name: x.flatten(0, 1) for name, x in states.items()}, labels.flatten()  # (N, d)

    def terms(logits, rows):
        loss = 0.2 * cross_entropy(logits, labels[rows])
        for share, name in ((0.5, "teacher"), (0.3, "self")):
            with torch.no_grad():
                teacher = flat[name][rows] @ weight.T  # (n, V)
            loss = loss + share * distillation(logits, teacher, labels[rows], "forward_kl", TAU)
        return loss, {}

    return chunked_loss(flat["student"], weight, terms)[0]


def measured(way: str) -> dict:
    result = subprocess.run([sys.executable, __file__, way], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-3000:]
    return json.loads(result.stdout.strip().splitlines()[-1])


def test_chunks_take_a_quarter_of_the_memory():
    rows = {way: measured(way) for way in ("naive", "chunked")}
    print(f"\nB = {B}, L = {L}, V = {V:,}, d = {D}, fp32")
    for way, row in rows.items():
        print(f"{way:8} {row['loss_mb']:7.0f} MB for the loss, peak {row['peak_mb']:.0f} MB, {row['seconds']:.1f} s")
    ratio = rows["chunked"]["loss_mb"] / rows["naive"]["loss_mb"]
    print(f"memory {ratio:.3f} of naive (goal {GOAL}), time {rows['chunked']['seconds'] / rows['naive']['seconds']:.2f}")
    for name in ("loss", "gradient"):  # it is the same loss
        assert abs(rows["chunked"][name] / rows["naive"][name] - 1) < 1e-4, name
    assert ratio <= GOAL


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


if __name__ == "__main__":
    way = {"naive": naive, "chunked": chunked}[sys.argv[1]]
    generator = torch.Generator().manual_seed(0)
    states = {name: torch.randn(B, L, D, generator=generator) for name in ("student", "teacher", "self")}
    states["student"].requires_grad_()
    weight = torch.randn(V, D, generator=generator) * 0.1
    labels = torch.randint(V, (B, L), generator=generator)
    # libraries that load at first use are no memory of the loss
    F.kl_div(states["student"][0, :1] @ weight[:8].T, torch.zeros(1, 8), reduction="sum").backward()
    states["student"].grad = None
    before, began = resident_mb(), time.perf_counter()
    loss = way(states, weight, labels)
    loss.backward()
    seconds, peak = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"loss": loss.item(), "gradient": states["student"].grad.norm().item(), "seconds": seconds,
                      "peak_mb": peak, "loss_mb": peak - before}))
