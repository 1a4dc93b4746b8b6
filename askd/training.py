"""The training loop: one student, one method, one run folder.

    from askd.training import TrainConfig, train
    train(TrainConfig(method="askd", steps=300), teacher, processor, clips, "runs/cpu/students/askd")

    askd train --method askd --steps 300 --out runs/mine/askd                                # the same from the shell
    accelerate launch --num_processes 4 -m askd train --set micro_batch_size=4 --out runs/mine/askd       # on four GPUs

Device, precision and processes are accelerate's: CPU, CUDA or MPS, bf16 where the machine computes in it, DDP over any
number of processes that divides the micro-batches of a step. Everything a step sees is a function of (seed, step), so a
killed run goes on from its last checkpoint as if nothing had happened, on as many processes as there are then.

Run folder: training.json (settings and digests), run.json (machines, versions, git state, data), README.md, metrics.jsonl
(bit for bit the same however often it was killed), speed.jsonl (seconds of each step by part), tensorboard/, checkpoints/
while it runs, best/ (the student of the lowest dev cross-entropy); at the end a plain transformers folder (config.json,
model.safetensors, processor), figures/ and finished.json.
"""

import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from askd import runinfo, stepclock
from askd.batches import make_examples
from askd.checkpoints import load_checkpoint, save_checkpoint
from askd.clips import Clip
from askd.curriculum import Curriculum
from askd.devwer import dev_wer
from askd.errors import AskdError, RunError
from askd.files import digest, only_writer, read_json, replacing, write_json
from askd.learner import Learner
from askd.processes import all_processes
from askd.progress import progress_bar
from askd.runlogs import cut_logs, open_logs, read_metrics, read_speed
from askd.student import save_model
from askd.targets import weights_digest
from askd.trackers import check_trackers, start_trackers
from askd.trainconfig import TrainConfig, fast_precision
from askd.traindata import StoredData, StreamedData, lanes_of, step_batches

__all__ = ["TrainConfig", "read_metrics", "read_speed", "save_model", "train"]


def train(
    config: TrainConfig, teacher, processor, clips, out: Path | str, dev_clips: Sequence[Clip] = (), progress: bool = True,
    skip_bad: bool = False,
) -> Path:
    """Distil a student into ``out``; return the folder. A finished run of the same settings is returned at once.

    An unfinished run of the same settings goes on from its checkpoint. A folder with other settings is moved aside to
    ``<out>.old-<digest>``, never overwritten. Under ``accelerate launch`` every process calls this.

    Args:
        config: settings.
        teacher, processor: from `askd.load_teacher`.
        clips: training clips, or an `askd.stream.StreamData`; ``dev_clips`` are scored every ``dev_every`` steps.
        out: run folder.
        progress: bars with ETA.
        skip_bad: leave out clips that cannot be read or whose transcript does not fit, and say how many.

    Raises:
        AudioError: a recording cannot be read; it is named before the first step.
        TrainingDiverged: the loss or its gradient is not finite.
        RunError: another process writes to ``out``.
    """
    out, everyone = Path(out), all_processes()
    _check(config, clips, everyone, dev_clips)
    recorded = what_decides(config, teacher, clips, dev_clips)
    if everyone.is_main_process:
        _make_room(out, recorded)
    everyone.wait_for_everyone()
    if (out / "finished.json").is_file():
        if everyone.is_main_process and (out / "checkpoints").is_dir():  # killed at the very end
            _tidy(out)
        return out
    if not everyone.is_main_process:
        everyone.wait_for_everyone()  # until the folder is locked
        _Trainer(config, teacher, processor, clips, dev_clips, out, False, skip_bad).run()
        return out
    with only_writer(out):
        for left in out.glob(".*.*"):  # half-written by a killed process
            shutil.rmtree(left, ignore_errors=True)
        write_json(out / "training.json", recorded)
        runinfo.write_info(out, recorded, clips, dev_clips, getattr(teacher, "name_or_path", ""))
        everyone.wait_for_everyone()
        _Trainer(config, teacher, processor, clips, dev_clips, out, progress, skip_bad).run()
    return out


def what_decides(config: TrainConfig, teacher, clips, dev_clips: Sequence[Clip] = ()) -> dict:
    """The content of training.json: everything the student depends on. A run of another one is moved aside."""
    def content(clips: Sequence[Clip]) -> str:
        return digest([(clip.sha256, clip.text) for clip in clips])

    streamed = not isinstance(clips, Sequence)
    return config.recorded() | {
        "teacher": weights_digest(teacher), "clips": clips.digest if streamed else content(clips),
        "n_clips": clips.rows if streamed else len(clips), "dev_clips": content(dev_clips),
    }


def _check(config: TrainConfig, clips, everyone, dev_clips: Sequence[Clip]) -> None:
    """Complain before anything is moved or written."""
    if config.curriculum().switch_by == "plateau" and not dev_clips:
        raise AskdError("switch_by plateau looks at dev clips, and there are none: give some, or switch_by=step")
    curriculum = config.curriculum()
    if curriculum.switch_by == "plateau" and (curriculum.patience + 1) * config.dev_every >= curriculum.switch * config.steps:
        raise AskdError(f"switch_by plateau could never come before the switch at step {curriculum.switch * config.steps:.0f}: "
                        f"{curriculum.patience} looks after the first, {config.dev_every} steps apart; lower dev_every or "
                        "patience")
    lanes_of(config.lanes, everyone.process_index, everyone.num_processes)
    check_trackers(config.track)
    if isinstance(clips, Sequence):
        if len(clips) < config.batch_size:
            raise AskdError(f"{len(clips)} clips are fewer than one batch of {config.batch_size}")
        return
    if config.targets == "cached" and config.curriculum().needs_teacher:
        raise AskdError("a streamed data set has no cached targets: choose targets online (--set targets=online)")
    if (clips.lanes, clips.micro_batch_size) != (config.lanes, config.micro_batch):
        raise AskdError(f"the stream was opened for {clips.lanes} micro-batches of {clips.micro_batch_size}, the settings say "
                        f"{config.lanes} of {config.micro_batch}: open it with askd.traindata.open_stream")


def _filled(recorded: dict) -> dict:
    """A training.json with the fields that have been added since, at their defaults: such a run is finished all the same."""
    defaults = {"config": TrainConfig().recorded()["config"], "curriculum": asdict(Curriculum())}
    return recorded | {part: values | recorded.get(part, {}) for part, values in defaults.items()}


def _make_room(out: Path, recorded: dict) -> None:
    """Move a run of other settings aside; refuse a folder that is in use, or that holds something else."""
    if (out / "training.json").is_file():
        if (old := _filled(read_json(out / "training.json"))) != recorded:
            with only_writer(out):  # nobody else's
                aside = out.with_name(f"{out.name}.old-{digest(old, 6)}")
                print(f"{out.name} was trained with other settings: moved aside to {aside.name}")
                out.rename(aside if not aside.exists() else aside.with_name(f"{aside.name}-{int(time.time())}"))
    elif out.is_dir() and (others := sorted(p.name for p in out.iterdir() if not p.name.startswith("."))):
        raise RunError(f"{out} holds other files ({', '.join(others[:3])}): choose an empty folder for the run")


def _tidy(out: Path) -> None:
    """What follows a finished run: its figure and README; the checkpoints are not needed any more."""
    runinfo.finish_info(out)
    shutil.rmtree(out / "checkpoints", ignore_errors=True)


class _Trainer:
    """One run: data, learner, logs, checkpoints."""

    def __init__(self, config, teacher, processor, clips, dev_clips, out, progress, skip_bad):
        from accelerate import Accelerator
        from accelerate.state import AcceleratorState

        self.config, self.processor, self.out, self.progress = config, processor, out, progress
        self.precision = fast_precision(all_processes().device) if config.precision == "auto" else config.precision
        AcceleratorState._reset_state()  # a notebook may train several students, each with its own precision
        self.accelerator = Accelerator(
            mixed_precision="bf16" if self.precision == "bf16" else "no", log_with=check_trackers(config.track) or None,
            project_dir=str(out / "tensorboard"), cpu=all_processes().device.type == "cpu",
        )
        if self.accelerator.distributed_type in ("FSDP", "DEEPSPEED", "MEGATRON_LM"):
            raise AskdError("every process holds the whole student (DDP): launch without FSDP or DeepSpeed; a teacher that "
                            "does not fit is sharded by --teacher-memory fsdp")
        self.processes = self.accelerator.num_processes
        self.lanes = lanes_of(config.lanes, self.accelerator.process_index, self.processes)
        with self.accelerator.main_process_first():  # the features are computed once
            self.dev = make_examples(dev_clips, teacher, processor, skip_bad=skip_bad)
            examples = make_examples(clips, teacher, processor, progress, skip_bad) if isinstance(clips, Sequence) else None
        if examples is None:
            self.data = StreamedData(clips)
        else:
            self.data = StoredData(examples, config.batch_size, config.micro_batch, config.steps, config.seed)
        self.learner = Learner(config, teacher, examples, self.accelerator, progress, self.data.epoch_steps)
        self.step, self.best = 0, math.inf
        state = load_checkpoint(out)
        if state is not None:
            self.learner.load(state)
            self.step, self.best = state["step"], state["best"]
            if state["precision"] != self.precision:
                print(f"{out}: begun in {state['precision']}, goes on in {self.precision}, what this machine multiplies fast")
        steps = self.accelerator.gather(torch.tensor([self.step], device=self.accelerator.device)).tolist()
        if len(set(steps)) > 1:
            raise RunError(f"the processes found different checkpoints (steps {steps}): {out} must lie on a disk they all share")
        if self.accelerator.is_main_process:
            cut_logs(out, self.step)
        self.accelerator.wait_for_everyone()

    def run(self) -> None:
        """All remaining steps, then the finished folder."""
        config = self.config
        start_trackers(self.accelerator, self.out, config.recorded())
        clock = self.learner.clock
        batches = step_batches(
            self.data, self.lanes, self.step, config.steps, config.context, config.pad_s, config.seed, config.workers,
            config.spec_augment,
        )
        name = f"{config.method} {self.precision}" + (f" x{self.processes}" if self.processes > 1 else "")
        with open_logs(self.out, self.accelerator.is_main_process) as (metrics, speed), progress_bar(
            total=config.steps, initial=self.step, desc=name, unit="step", shown=self.progress
        ) as bar:
            while self.step < config.steps:
                clock.begin(self.step)
                row = self.learner.learn(self.step, next(batches))
                seconds = clock.row()
                self.step += 1
                row = {"step": self.step, **row}
                due = config.dev_every, config.dev_wer_every
                if self.dev and (self.step == config.steps or any(every and self.step % every == 0 for every in due)):
                    row |= self._look()
                metrics({k: round(v, 6) if isinstance(v, float) else v for k, v in row.items()})
                speed({"step": self.step} | {k: round(v, 5) for k, v in seconds.items()})
                rate = config.batch_size / seconds["seconds"]
                curves = {k: v for k, v in row.items() if isinstance(v, float)} | {"utterances_per_s": rate}
                self.accelerator.log(curves, self.step)
                bar.update()
                bar.set_postfix_str(
                    f"loss {row['loss']:.3f}, {rate:.1f} utt/s, phase {row['phase']}: label {row['w_label']:.2f} "
                    f"teacher {row['w_teacher']:.2f} self {row['w_self']:.2f}"
                )
                if self.step % config.checkpoint_every == 0 and self.step < config.steps:
                    self._checkpoint()
        for tracker in self.accelerator.trackers:  # end_training() would part the processes as well
            tracker.finish()
        if self.accelerator.is_main_process:
            self._finish()
        self.accelerator.wait_for_everyone()

    def _look(self) -> dict[str, float]:
        """Dev cross-entropy and, where it is due, dev WER of the student that would be kept now; the best one is."""
        every, found = self.config.dev_wer_every, {}
        with self.learner.final_student() as student:
            found["dev_ce"] = self.learner.cross_entropy(student, self.dev)
            self.learner.looked(found["dev_ce"], self.step)
            if self.accelerator.is_main_process:
                if every and (self.step % every == 0 or self.step == self.config.steps):
                    found["dev_wer"] = dev_wer(student, self.processor, [e.clip for e in self.dev])
                if found["dev_ce"] < self.best:
                    with replacing(self.out / "best") as scratch:
                        save_model(student, self.processor, scratch)
                        write_json(scratch / "best.json", {"step": self.step, "dev_ce": found["dev_ce"]})
        self.best = min(self.best, found["dev_ce"])
        return found

    def _finish(self) -> None:
        with self.learner.final_student() as student:
            save_model(student, self.processor, self.out)
        rows = read_speed(self.out)
        write_json(self.out / "finished.json", {
            "steps": self.step, "precision": self.precision, "processes": self.processes, "shares": stepclock.shares(rows),
            "utterances_per_s": self.config.batch_size * len(rows) / sum(row["seconds"] for row in rows),
        })
        _tidy(self.out)

    def _checkpoint(self) -> None:
        if self.accelerator.is_main_process:
            save_checkpoint(self.out, self.step, {
                "step": self.step, "best": self.best, "precision": self.precision, **self.learner.state(),
            })
            runinfo.write_readme(self.out)
