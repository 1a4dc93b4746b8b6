"""Training: ours against the loop one writes first, and the levers in between, one added at a time: `make benchmarks-training`.

Goals: at least 3x the utterances/s of the plain loop on two cores, at most half its peak memory. See training_loops.py.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

STEPS = {"padded": 5, "own": 12}  # the first two are not timed; all steps on padded 30 s cost the same
LOOPS = (
    "plain", "plain,bf16", "plain,bf16,labels", "plain,bf16,labels,context", "plain,bf16,labels,context,buckets",
    "plain,bf16,labels,context,buckets,cached", "askd-fp32", "askd-bf16", "askd-bf16-8",
)


def measured(loop: str) -> dict:
    steps = STEPS["own" if "context" in loop or loop.startswith("askd") else "padded"]
    script = Path(__file__).with_name("training_loops.py")
    result = subprocess.run(
        [sys.executable, str(script), loop, str(steps)], capture_output=True, text=True, env=os.environ | {"TQDM_DISABLE": "1"}
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return json.loads(result.stdout.strip().splitlines()[-1])


def test_training_loops():
    measured("askd-fp32")  # speaks the clips and caches the teacher's answers of both precisions
    measured("askd-bf16")
    print(f"\n{'loop':44} {'utt/s':>6} {'x':>5} {'peak MB':>8} {'of plain':>8}")
    rows = []
    for loop in LOOPS:
        rows.append(measured(loop))
        row, plain = rows[-1], rows[0]
        speed, memory = row["utterances_per_s"] / plain["utterances_per_s"], row["peak_mb"] / plain["peak_mb"]
        print(f"{loop:44} {row['utterances_per_s']:6.2f} {speed:5.1f} {row['peak_mb']:8} {memory:8.2f}", flush=True)
    for row in rows:
        if "shares" in row:
            parts = ", ".join(f"{part} {100 * share:.0f} %" for part, share in row["shares"].items() if share >= 0.005)
            print(f"{row['loop']}: {parts}; {row['gflops']} of {row['matmul_gflops']} GFLOP/s ({100 * row['of_matmul']:.0f} %)")
            for epochs in (1, 10):  # over all methods and seeds that share the cache
                rate = 1 / (1 / row["utterances_per_s"] + row["caching_s_a_clip"] / epochs)
                print(f"    with the teacher's answers ({row['caching_s_a_clip']} s a clip) made for {epochs} passes: "
                      f"{rate:.2f} utt/s, {rate / rows[0]['utterances_per_s']:.1f}x")
