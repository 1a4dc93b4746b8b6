"""The training loop: one student, one method, one run folder.

    from askd.training import TrainConfig, train
    train(TrainConfig(method="askd", steps=300), teacher, processor, clips, "runs/cpu/students/askd")

    askd train --method askd --steps 300 --out runs/mine/askd        # the same from the shell

Device, precision and processes are accelerate's: CPU, CUDA or MPS, bf16 where the machine computes in it. Everything a
step sees is a function of (seed, step), so a killed run goes on from its last checkpoint as if nothing had happened.

Run folder: training.json (settings and digests), metrics.jsonl, tensorboard/, two checkpoints while it runs; at the end a
plain transformers folder (config.json, model.safetensors, processor) and finished.json.
"""

import json
import math
import os
import re
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from torch import nn

from askd import losses
from askd.batches import Batch, batch_plan, collate, make_examples
from askd.clips import Clip
from askd.curriculum import Weights
from askd.decoding import use_clip_context
from askd.errors import RunError, TrainingDiverged
from askd.files import digest, only_writer, read_json, replacing, write_json
from askd.losses import IGNORE
from askd.objective import objective
from askd.schedules import linear
from askd.selfteacher import SelfTeacher
from askd.student import make_student
from askd.targets import TeacherTargets, label_logits, teacher_targets, weights_digest
from askd.trainconfig import TrainConfig, fast_precision

CHECKPOINTS = ("checkpoint.pt", "checkpoint.previous.pt")  # the newest, and the one before it


class LabelLogits(nn.Module):
    """The student as one module with one forward, so that accelerate can wrap it (DDP, autocast)."""

    def __init__(self, whisper):
        super().__init__()
        self.whisper = whisper

    def forward(self, batch: Batch) -> torch.Tensor:
        """(N, V) logits of the label positions."""
        return label_logits(self.whisper, batch)


def train(
    config: TrainConfig, teacher, processor, clips: Sequence[Clip], out: Path | str,
    dev_clips: Sequence[Clip] = (), progress: bool = True, skip_bad: bool = False,
) -> Path:
    """Distil a student into ``out``; return the folder. A finished run of the same settings is returned at once.

    An unfinished run of the same settings goes on from its checkpoint. A folder with other settings is moved aside to
    ``<out>.old-<digest>``, never overwritten.

    Args:
        config: settings.
        teacher, processor: from `askd.load_teacher`.
        clips: training clips; ``dev_clips`` are scored every ``dev_every`` steps.
        out: run folder.
        progress: bars with ETA.
        skip_bad: leave out clips that cannot be read or whose transcript does not fit, and say how many.

    Raises:
        AudioError: a recording cannot be read; it is named before the first step.
        TrainingDiverged: the loss is not finite.
        RunError: another process writes to ``out``.
    """
    out = Path(out)
    recorded = json.loads(json.dumps({
        "config": asdict(config), "curriculum": asdict(config.curriculum()), "teacher": weights_digest(teacher),
        "clips": digest([(c.sha256, c.text) for c in clips]), "n_clips": len(clips),
    }))
    if (out / "training.json").is_file() and (old := read_json(out / "training.json")) != recorded:
        aside = out.with_name(f"{out.name}.old-{digest(old, 6)}")
        print(f"{out} was trained with other settings: moved aside to {aside.name}")
        out.rename(aside if not aside.exists() else aside.with_name(f"{aside.name}-{int(time.time())}"))
    if (out / "finished.json").is_file():
        return out
    with only_writer(out):
        write_json(out / "training.json", recorded)
        _Trainer(config, teacher, processor, clips, dev_clips, out, progress, skip_bad).run()
    return out


class _Trainer:
    """State of one run: student, optimiser, self-teacher, step."""

    def __init__(self, config, teacher, processor, clips, dev_clips, out, progress, skip_bad):
        from accelerate import Accelerator, PartialState
        from accelerate.state import AcceleratorState

        self.config, self.processor, self.out, self.progress = config, processor, out, progress
        self.curriculum = config.curriculum()
        torch.manual_seed(config.seed)
        self.precision = fast_precision(PartialState().device) if config.precision == "auto" else config.precision
        AcceleratorState._reset_state()  # a notebook may train several students, each with its own precision
        self.accelerator = Accelerator(
            mixed_precision="bf16" if self.precision == "bf16" else "no", log_with="tensorboard",
            project_dir=str(out / "tensorboard"),
        )
        self.autocast = torch.bfloat16 if self.precision == "bf16" else None
        self.examples = make_examples(clips, teacher, processor, progress, skip_bad)
        self.dev = make_examples(dev_clips, teacher, processor, skip_bad=skip_bad)
        self.targets = self._targets(teacher) if self.curriculum.needs_teacher else None
        student = make_student(teacher, config.decoder_layers, config.encoder_layers)
        use_clip_context(student)
        student.model.encoder.embed_positions.requires_grad_(False)  # sinusoids, fixed in Whisper
        if not config.train_vocabulary:
            student.model.decoder.embed_tokens.requires_grad_(False)  # tied with proj_out
        self.self_teacher = None
        groups = [
            {"params": list(student.model.encoder.parameters()), "lr": config.encoder_lr},
            {"params": list(student.model.decoder.parameters()), "lr": config.decoder_lr},
        ]
        for group in groups:
            group["params"] = [p for p in group["params"] if p.requires_grad]
        optimiser = torch.optim.AdamW(groups, weight_decay=config.weight_decay, fused=True)
        self.model, self.optimiser = self.accelerator.prepare(LabelLogits(student), optimiser)
        if self.curriculum.needs_self_teacher:
            self.self_teacher = SelfTeacher(self.student, self.curriculum.self_teacher, config.momentum)
        self.base_rates = [group["lr"] for group in self.optimiser.param_groups]
        self.step = 0
        self._resume()

    @property
    def student(self):
        """The bare Whisper under accelerate's wrappers."""
        return self.accelerator.unwrap_model(self.model).whisper

    def _targets(self, teacher) -> TeacherTargets:
        device = self.accelerator.device
        teacher = teacher.to(device)
        targets = teacher_targets(
            teacher, self.examples, self.config.top_k, self.config.temperature, autocast=self.autocast, progress=self.progress
        )
        teacher.to("cpu")
        return targets

    # ---- one step -------------------------------------------------------------------------------------------------

    def _rate(self, step: int) -> float:
        """Linear warm-up to 1, then linear decay to 0 at the last step."""
        warmup = max(1, round(self.config.warmup * self.config.steps))
        if step < warmup:
            return (step + 1) / warmup
        return linear((step - warmup) / max(1, self.config.steps - warmup), 1.0, 0.0)

    def _micro_batches(self, rows: np.ndarray, step: int) -> list[Batch]:
        low, high = self.config.pad_s
        pad_frames = int(100 * np.random.default_rng([self.config.seed, 1, step]).uniform(low, high))
        size = self.config.micro_batch_size or len(rows)
        return [
            collate(self.examples, rows[i : i + size], pad_frames=pad_frames).to(self.accelerator.device)
            for i in range(0, len(rows), size)
        ]

    def _loss(self, batch: Batch, weights: Weights) -> tuple[torch.Tensor, dict[str, float]]:
        logits = self.model(batch)  # (N, V)
        labels = batch.labels[batch.labels != IGNORE]  # (N,)
        targets = self.targets.of(batch) if weights.teacher > 0 else None
        self_logits = None
        if weights.self_teacher > 0:
            with torch.no_grad(), self.accelerator.autocast():
                self_logits = label_logits(self.self_teacher.model, batch)
        return objective(logits, labels, weights, self.curriculum, self.config.temperature, targets, self_logits)

    def _one_step(self, rows: np.ndarray) -> dict[str, float]:
        """One optimiser step; the loss is the mean over all its label tokens, however it is split."""
        progress = self.step / self.config.steps
        weights = self.curriculum.weights(progress)
        batches = self._micro_batches(rows, self.step)
        counts = [int((batch.labels != IGNORE).sum()) for batch in batches]
        row = {"loss": 0.0}
        for batch, count in zip(batches, counts, strict=True):
            loss, terms = self._loss(batch, weights)
            share = count / sum(counts)
            self.accelerator.backward(loss * share)
            for name, value in {"loss": loss.item(), **terms}.items():
                row[name] = row.get(name, 0.0) + share * value
        if not math.isfinite(row["loss"]):
            raise TrainingDiverged(
                f"loss is {row['loss']} at step {self.step} of {self.out}: lower the learning rates "
                f"(encoder {self.config.encoder_lr:g}, decoder {self.config.decoder_lr:g}) or lengthen the warm-up; "
                "the last checkpoint is kept"
            )
        norm = self.accelerator.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        for group, base in zip(self.optimiser.param_groups, self.base_rates, strict=True):
            group["lr"] = base * self._rate(self.step)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        if self.self_teacher is not None:
            self.self_teacher.follow(self.student, self.curriculum.phase(progress))
        return row | {
            "grad_norm": float(norm), "rate": self._rate(self.step), "phase": self.curriculum.phase(progress),
            "w_label": weights.label, "w_teacher": weights.teacher, "w_self": weights.self_teacher,
        }

    @torch.no_grad()
    def _dev_cross_entropy(self) -> float:
        """Mean over all dev label tokens, on the clips' own context."""
        order = sorted(range(len(self.dev)), key=lambda i: self.dev[i].frames)
        total = tokens = 0
        self.model.eval()
        for i in range(0, len(order), 16):
            batch = collate(self.dev, order[i : i + 16], pad_frames=50).to(self.accelerator.device)
            labels = batch.labels[batch.labels != IGNORE]
            total += losses.cross_entropy(self.model(batch), labels).item() * len(labels)
            tokens += len(labels)
        self.model.train()
        return total / tokens

    # ---- the run --------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """All remaining steps, then the finished folder."""
        from tqdm.auto import tqdm

        config = self.config
        plan = batch_plan([e.frames for e in self.examples], config.batch_size, config.steps, config.seed)
        self.accelerator.init_trackers("askd")
        self.model.train()
        with open(self.out / "metrics.jsonl", "a", encoding="utf-8") as log, tqdm(
            total=config.steps, initial=self.step, desc=f"{config.method} {self.precision}", unit="step",
            disable=not self.progress,
        ) as bar:
            while self.step < config.steps:
                began = time.perf_counter()
                row = self._one_step(plan[self.step])
                self.step += 1
                row = {"step": self.step, **row, "utterances_per_s": config.batch_size / (time.perf_counter() - began)}
                if self.dev and (self.step % config.dev_every == 0 or self.step == config.steps):
                    row["dev_ce"] = self._dev_cross_entropy()
                log.write(json.dumps({k: round(v, 6) if isinstance(v, float) else v for k, v in row.items()}) + "\n")
                self.accelerator.log({k: v for k, v in row.items() if isinstance(v, float)}, step=self.step)
                bar.update()
                bar.set_postfix(loss=f"{row['loss']:.3f}", utt_s=f"{row['utterances_per_s']:.1f}", phase=row["phase"])
                if self.step % config.checkpoint_every == 0 and self.step < config.steps:
                    log.flush()
                    self._checkpoint()
        self.accelerator.end_training()
        save_model(self.student, self.processor, self.out)
        write_json(self.out / "finished.json", {"steps": self.step, "precision": self.precision})
        for name in CHECKPOINTS:
            (self.out / name).unlink(missing_ok=True)

    def _checkpoint(self) -> None:
        state = {
            "step": self.step, "student": self.student.state_dict(), "optimiser": self.optimiser.state_dict(),
            "self_teacher": self.self_teacher.model.state_dict() if self.self_teacher else None,
        }
        newest, previous = (self.out / name for name in CHECKPOINTS)
        with replacing(newest) as scratch, open(scratch, "wb") as file:
            try:
                torch.save(state, file)
            except RuntimeError as error:  # torch hides a full disk behind a complaint of its own
                raise error.__context__ if isinstance(error.__context__, OSError) else error from None
            file.flush()
            if newest.is_file():
                os.replace(newest, previous)  # a moment without a newest one: then the previous serves

    def _resume(self) -> None:
        """Load the last whole checkpoint, and cut the log back to it."""
        there = [self.out / name for name in CHECKPOINTS if (self.out / name).is_file()]
        state, complaints = None, []
        for path in there:
            try:
                state = torch.load(path, map_location=self.accelerator.device, weights_only=True)
                break
            except Exception as error:  # cut, corrupted, or not a checkpoint: torch raises many kinds
                complaints.append(f"{path} cannot be read ({str(error).splitlines()[0]})")
        if state is None:
            if there:
                raise RunError(f"{'; '.join(complaints)}: delete {self.out} to start this run from its beginning")
            (self.out / "metrics.jsonl").unlink(missing_ok=True)
            return
        if complaints:
            print(f"{complaints[0]}: going on from the one before it, step {state['step']}")
        self.student.load_state_dict(state["student"])
        self.optimiser.load_state_dict(state["optimiser"])
        if self.self_teacher is not None:
            self.self_teacher.model.load_state_dict(state["self_teacher"])
        self.step = state["step"]
        lines = (self.out / "metrics.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
        with replacing(self.out / "metrics.jsonl") as scratch:
            scratch.write_text("".join(lines[: self.step]), encoding="utf-8")


def save_model(model, processor, folder: Path | str) -> None:
    """Write a plain transformers folder (safetensors) that `askd.load_teacher` and the ASR pipeline read."""
    for parameter in model.parameters():  # safetensors stores row-major tensors only
        parameter.data = parameter.data.contiguous()
    try:
        model.eval().save_pretrained(folder)
    except SafetensorError as error:
        if code := re.search(r"os error (\d+)", str(error)):  # a full disk, in safetensors' words
            raise OSError(int(code[1]), os.strerror(int(code[1])), str(folder)) from None
        raise
    processor.save_pretrained(folder)


def read_metrics(folder: Path | str) -> list[dict]:
    """The rows of a run's metrics.jsonl.

    Raises:
        RunError: there is no such run.
    """
    path = Path(folder) / "metrics.jsonl"
    if not path.is_file():
        raise RunError(f"{path} is not there: train this student first")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
