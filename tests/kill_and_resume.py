"""kill -9 at random moments, resume, compare: `make kill-test TRIALS=100`, or `python tests/kill_and_resume.py FOLDER 100`.

A run is trained once without interruption. Then the same run is started, killed after a random time, started again, ...
until it ends, and again from the beginning until there were so many kills. Every ended run must equal the uninterrupted
one bit for bit: weights, best student, metrics.jsonl. Each life is a process of its own, forked from this one so that the
packages are not imported a hundred times. A third of the kills come while it is still loading.
"""

import json
import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path

import torch

STEPS, CHECKPOINT_EVERY = 24, 3


def life(teacher: Path, out: Path, method: str) -> int:
    """Start a process that trains in ``out``, and return its pid."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            torch.set_num_threads(2)
            from askd.domains import load_clips
            from askd.teacher import load_teacher
            from askd.training import TrainConfig, train

            clips = load_clips("neural_clean", "train", 6) + load_clips("formant_telephone", "train", 6)
            config = TrainConfig(
                method=method, steps=STEPS, batch_size=4, micro_batch_size=2, top_k=8, precision="fp32", encoder_lr=1e-3,
                decoder_lr=1e-3, momentum=0.9, checkpoint_every=CHECKPOINT_EVERY, dev_every=4, workers=1, track="none",
            )
            train(config, *load_teacher(teacher), clips, out, clips[:2], progress=False)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return pid


def rows(out: Path) -> int:
    """Steps in the log."""
    path = out / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.is_file() else 0


def content(out: Path) -> dict[str, bytes]:
    """What must be equal."""
    return {name: (out / name).read_bytes() for name in
            ("model.safetensors", "best/model.safetensors", "best/best.json", "metrics.jsonl", "config.json")}


def killed(teacher: Path, out: Path, method: str, rng: random.Random, wait_s: float, kills: int) -> list[dict]:
    """Run to the end with up to ``kills`` kills on the way; a row for each kill."""
    found = []
    while True:
        pid, lowest, born = life(teacher, out, method), rows(out), time.monotonic()
        if len(found) < kills:
            loading = rng.random() < 1 / 3
            while not loading and not exited(pid) and rows(out) <= lowest:  # the log is cut to the last checkpoint, then it grows
                lowest = min(lowest, rows(out))
                assert time.monotonic() - born < 300, "no step in five minutes"
                time.sleep(0.002)
            time.sleep(rng.uniform(0, 1.5 if loading else wait_s))
            os.kill(pid, signal.SIGKILL)  # a process that has ended waits for us: no other can have its number
        status = os.waitpid(pid, 0)[1]
        assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, f"{out}: a resumed run failed"
        if os.WIFSIGNALED(status):
            found.append({"killed_at_step": rows(out)})
        else:
            return found


def exited(pid: int) -> bool:
    """Whether the process has ended, without taking its status."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def main(folder: Path, trials: int, method: str = "askd", seed: int = 0) -> dict:
    """``{"kills": n, "runs": n, "identical": n, ...}``; raises AssertionError when a run differs."""
    torch.set_num_threads(1)
    rng, teacher, whole = random.Random(seed), folder / "toy", folder / "whole"
    pid = life(teacher, whole, method)  # fills the caches
    assert os.waitpid(pid, 0)[1] == 0
    expected = content(whole)
    seconds = sum(json.loads(line)["seconds"] for line in (whole / "speed.jsonl").read_text().splitlines())
    kills, runs = [], 0
    while len(kills) < trials:
        out = folder / f"run-{runs}"
        kills += killed(teacher, out, method, rng, seconds / 3, trials - len(kills))
        runs += 1
        different = [name for name, value in content(out).items() if value != expected[name]]
        assert not different, f"{out}: {different} differ after {kills}"
        print(f"{len(kills)} of {trials} kills, {runs} runs ended, all identical", file=sys.stderr, flush=True)
    return {"kills": len(kills), "runs": runs, "identical": runs, "steps_killed_at": sorted(k["killed_at_step"] for k in kills)}


def make_toy(folder: Path) -> None:
    """A random Whisper of tiny.en's vocabulary, 32 wide, 2 + 4 layers."""
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    from askd.student import save_model
    from askd.teacher import load_teacher

    teacher, processor = load_teacher("tiny.en")
    torch.manual_seed(0)
    small = dict(d_model=32, encoder_layers=2, decoder_layers=4, encoder_attention_heads=2, decoder_attention_heads=2,
                 encoder_ffn_dim=64, decoder_ffn_dim=64)
    model = WhisperForConditionalGeneration(WhisperConfig.from_dict(teacher.config.to_dict() | small)).eval()
    model.generation_config = teacher.generation_config
    save_model(model, processor, folder / "toy")


if __name__ == "__main__":
    torch.set_num_threads(1)
    place, trials, *method = sys.argv[1:]
    make_toy(Path(place))
    print(json.dumps(main(Path(place), int(trials), *method)))
