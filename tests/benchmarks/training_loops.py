"""One training loop in a process of its own, for test_training_speed.py: `python training_loops.py LOOP STEPS`.

LOOP is `askd-PRECISION[-MICRO]` (askd.training.train, in micro-batches of MICRO), or `plain` with levers added to it by
commas: `plain,bf16,cached,...`.
The plain loop is what one writes first: in each step the features are computed, teacher and student hear the padded 30 s,
and KL and CE run over the whole padded (B, L, V) in fp32. All loops: constant KD, tiny.en cut to 2 decoder layers, the same
clips, batches of 16, AdamW. Prints a JSON line: utterances/s without the first two steps, seconds that caching the teacher's
answer takes a clip, peak resident memory (workers with it).
"""

import contextlib
import json
import resource
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from askd.batches import batch_plan, collate, make_examples
from askd.domains import domain_names, load_clips
from askd.features import FULL_CONTEXT, encode
from askd.losses import IGNORE, topk_distillation
from askd.student import make_student
from askd.targets import label_logits, teacher_targets, token_targets
from askd.teacher import load_teacher

CLIPS, BATCH, WARM = 160, 16, 2
LEVERS = ("bf16", "cached", "context", "labels", "buckets")


def training_clips():
    names = domain_names("in_domain", "synthetic")
    return [c for name in names for c in load_clips(name, "train", CLIPS // len(names))]


def plain(levers: set[str], steps: int) -> float:
    """utterances/s."""
    assert levers <= set(LEVERS), levers
    teacher, processor = load_teacher("tiny.en")
    clips = training_clips()
    examples = make_examples(clips, teacher, processor)
    student = make_student(teacher, 2)
    frozen = (student.proj_out.weight, student.model.encoder.embed_positions.weight)
    for parameter in frozen:
        parameter.requires_grad_(False)
    trained = [p for p in student.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=1e-4, weight_decay=0.0, fused=True)
    autocast = torch.autocast("cpu", torch.bfloat16, enabled="bf16" in levers)
    if "cached" in levers:
        targets = teacher_targets(teacher, examples, autocast=torch.bfloat16 if "bf16" in levers else None)
    if "buckets" in levers:
        plan = batch_plan([e.frames for e in examples], BATCH, steps, 0)
    else:
        rng, whole = np.random.default_rng(0), len(examples) // BATCH
        plan = [rows for _ in range(steps) for rows in np.split(rng.permutation(len(examples))[: BATCH * whole], whole)][:steps]
    for step, rows in enumerate(plan):
        if step == WARM:
            began = time.perf_counter()
        if "context" in levers:
            batch = collate(examples, rows, pad_frames=100)
        else:
            batch = collate(examples, rows, frames=FULL_CONTEXT)
            sound = [clips[i].samples() for i in rows]
            features = processor.feature_extractor(sound, sampling_rate=16_000, return_tensors="pt").input_features
            batch = type(batch)(features, batch.decoder_ids, batch.labels, batch.rows)
        with autocast:
            if "labels" in levers:
                logits, labels = label_logits(student, batch), batch.flat_labels
            else:
                own = "context" in levers  # transformers' own encoder insists on 30 s
                hear = {"encoder_outputs": (encode(student, batch.features),)} if own else {"input_features": batch.features}
                logits, labels = student(decoder_input_ids=batch.decoder_ids, use_cache=False, **hear).logits, batch.labels
            if "cached" not in levers:
                with torch.no_grad():
                    padded = collate(examples, rows, frames=FULL_CONTEXT) if "context" in levers else batch
                    heard = teacher(input_features=padded.features, decoder_input_ids=batch.decoder_ids, use_cache=False).logits
                    heard = heard[batch.labels != IGNORE] if "labels" in levers else heard
        logits = logits.float()
        ce = F.cross_entropy(logits.flatten(0, -2), labels.flatten(), ignore_index=IGNORE)
        if "cached" in levers:
            t = targets.of(batch)
            kept = logits if "labels" in levers else logits[batch.labels != IGNORE]
            kl = topk_distillation(kept, t.ids, t.log_kept, t.log_rest, batch.flat_labels, temperature=2.0)
        else:
            log_q, log_p = F.log_softmax(logits / 2, -1), F.log_softmax(heard.float() / 2, -1)
            per_token = (log_p.exp() * (log_p - log_q)).sum(-1)
            kl = 4 * per_token[labels != IGNORE].mean()
        (0.2 * ce + 0.8 * kl).backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        optimiser.zero_grad()
    return BATCH * (steps - WARM) / (time.perf_counter() - began)


def ours(precision: str, steps: int, micro: int | None) -> tuple[float, float, dict]:
    from askd.flops import matmul_rate, training_flops
    from askd.stepclock import shares
    from askd.training import TrainConfig, read_speed, train

    teacher, processor = load_teacher("tiny.en")
    clips = training_clips()
    examples = make_examples(clips, teacher, processor)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    teacher_targets(teacher, examples, autocast=dtype if precision == "bf16" else None)
    config = TrainConfig(method="constant_kd", steps=steps, batch_size=BATCH, decoder_layers=2, precision=precision,
                         micro_batch_size=micro)
    with tempfile.TemporaryDirectory() as folder:
        train(config, teacher, processor, clips, folder, progress=False)
        rows = read_speed(folder)[WARM:]
    student = make_student(teacher, 2)
    plan = batch_plan([e.frames for e in examples], BATCH, steps, 0)
    flops = 0.0
    for step in range(WARM, steps):
        pad = int(100 * np.random.default_rng([0, 1, step]).uniform(*config.pad_s))
        batch = collate(examples, plan[step], pad_frames=pad)
        flops += training_flops(student.config, BATCH, batch.features.shape[-1], batch.labels.shape[1], len(batch.flat_labels))
    seconds = sum(row["seconds"] for row in rows)
    rate = matmul_rate(dtype)
    began = time.perf_counter()
    for start in (0, 8):  # what caching costs, a clip
        token_targets(teacher, collate(examples, range(start, start + 8)), 64, 2.0, dtype if precision == "bf16" else None)
    return BATCH * len(rows) / seconds, (time.perf_counter() - began) / 16, {
        "shares": {k: round(v, 3) for k, v in shares(rows).items()}, "gflops": round(flops / seconds / 1e9),
        "matmul_gflops": round(rate / 1e9), "of_matmul": round(flops / seconds / rate, 3),
    }


def watch_workers(found: list[int]) -> None:
    """Kilobytes that the worker processes have to themselves, sampled; what they share with their parent is counted there."""
    while True:
        own = 0
        for children in Path("/proc/self/task").glob("*/children"):
            for pid in children.read_text().split():
                with contextlib.suppress(OSError):
                    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
                    own += sum(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty"))
        found[0] = max(found[0], own)
        time.sleep(0.2)


if __name__ == "__main__":
    workers = [0]
    threading.Thread(target=watch_workers, args=(workers,), daemon=True).start()
    loop, steps = sys.argv[1], int(sys.argv[2])
    start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    more = {}
    if loop.startswith("askd-"):
        precision, *micro = loop.split("-")[1:]
        rate, caching, more = ours(precision, steps, int(micro[0]) if micro else None)
    else:
        rate, caching = plain(set(loop.split(",")[1:]), steps), 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss + workers[0]
    print(json.dumps({"loop": loop, "utterances_per_s": round(rate, 2), "caching_s_a_clip": round(caching, 3),
                      "imports_mb": round(start / 1024), "peak_mb": round(peak / 1024)} | more))
