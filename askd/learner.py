r"""One optimiser step: student, optimiser, teacher and self-teacher on this process.

    L(s) = w_label CE + w_teacher D(teacher || student) + w_self D(self || student)          askd/objective.py

The mean runs over all label tokens of the step, whether they come in one batch, in micro-batches one after the other, or
on several processes at once.
"""

import contextlib
import copy
import math
from collections.abc import Sequence

import torch
from torch import nn

from askd import losses, stepclock
from askd.batches import Batch, collate
from askd.bigteacher import place_teacher
from askd.chunks import chunked_loss
from askd.curriculum import Weights
from askd.decoding import TAIL, use_clip_context
from askd.errors import AskdError, TrainingDiverged
from askd.features import FULL_CONTEXT, encode
from askd.objective import States, objective
from askd.pace import Pace
from askd.schedules import linear
from askd.selfteacher import SelfTeacher
from askd.student import make_student
from askd.targets import label_states, teacher_targets, token_targets

DEV_BATCH = 16  # clips


class LabelStates(nn.Module):
    """The student as one module with one forward, so that accelerate can wrap it (DDP, autocast)."""

    def __init__(self, whisper, clock: stepclock.StepClock):
        super().__init__()
        self.whisper, self.clock = whisper, clock

    def forward(self, batch: Batch, encoded: torch.Tensor | None = None) -> torch.Tensor:
        """(N, d) states of the label positions; ``encoded`` when the encoder has been at work already."""
        if encoded is None:
            encoded = encode(self.whisper, batch.features)
            self.clock.mark("encoder")
            self.clock.mark_gradient(encoded, "decoder")
        hidden = label_states(self.whisper, batch, encoded)
        self.clock.mark("decoder")
        self.clock.mark_gradient(hidden, "loss")
        return hidden


class Learner:
    """What learns. All processes build the same one and see their own lanes."""

    def __init__(self, config, teacher, examples, accelerator, progress: bool = False, epoch_steps: int = 1):
        """
        Args:
            config: `askd.trainconfig.TrainConfig`.
            teacher: whole, on the CPU; it is not changed.
            examples: all training examples, for the cached targets; None when the teacher is asked online.
            accelerator: accelerate's, with its precision.
            progress: show a bar while the teacher answers.
            epoch_steps: steps of one pass over the clips.
        """
        self.config, self.accelerator, self.curriculum = config, accelerator, config.curriculum()
        self.device, self.processes = accelerator.device, accelerator.num_processes
        self.autocast = torch.bfloat16 if accelerator.mixed_precision == "bf16" else None
        student = self._new_student(teacher)
        self.start = {n: v.clone() for n, v in student.state_dict().items()} if config.start_share else {}
        self.targets = self.teacher = None
        if self.curriculum.needs_teacher:
            self._ask_teacher(teacher, examples, progress)
        self.pace, self.self_teacher, self.average = Pace(), None, None
        if self.curriculum.needs_self_teacher:
            if self.curriculum.refresh:
                epoch_steps = max(1, round(self.curriculum.refresh * config.steps))
            if self.curriculum.self_teacher == "previous_epoch" and epoch_steps >= config.steps:
                raise AskdError(f"the previous epoch would never teach: an epoch has {epoch_steps} steps and the run "
                                f"{config.steps}; train longer, or set refresh (0.125: an eighth of the run counts as one)")
            self.self_teacher = SelfTeacher(student, self.curriculum.self_teacher, config.momentum, epoch_steps)
            self.self_teacher.model.to(self.device)
        if config.final == "ema":
            shared = self.self_teacher is not None and self.curriculum.self_teacher == "ema"
            self.average = self.self_teacher if shared else SelfTeacher(student, "ema", config.momentum)
            self.average.model.to(self.device)
        if config.gradient_checkpointing:
            student.gradient_checkpointing_enable({"use_reentrant": False})
        if config.compile:
            for layer in (*student.model.encoder.layers, *student.model.decoder.layers):
                layer.compile(dynamic=True)
        groups = [
            {"params": [p for p in part.parameters() if p.requires_grad], "lr": rate}
            for part, rate in ((student.model.encoder, config.encoder_lr), (student.model.decoder, config.decoder_lr))
        ]
        optimiser = torch.optim.AdamW([g for g in groups if g["params"]], weight_decay=config.weight_decay, fused=True)
        self.base_rates = [group["lr"] for group in optimiser.param_groups]
        self.clock = stepclock.StepClock(self.device)
        self.model, self.optimiser = accelerator.prepare(LabelStates(student, self.clock), optimiser)
        self.listen()

    @property
    def student(self):
        """The bare Whisper under accelerate's wrappers."""
        return self.accelerator.unwrap_model(self.model).whisper

    def _new_student(self, teacher):
        config = self.config
        student = make_student(teacher, config.decoder_layers, config.encoder_layers)
        if config.context == "clip":
            use_clip_context(student)
        student.model.encoder.embed_positions.requires_grad_(False)  # sinusoids, fixed in Whisper
        if config.freeze_encoder:
            student.model.encoder.requires_grad_(False)
        if not config.train_vocabulary:
            student.model.decoder.embed_tokens.requires_grad_(False)  # tied with proj_out
        return student

    def _ask_teacher(self, teacher, examples, progress) -> None:
        """Cached: all answers now. Online: the teacher stays beside the student."""
        config, accelerator = self.config, self.accelerator
        placed = place_teacher(teacher, config.teacher_memory, self.device)
        if config.targets == "online":
            self.teacher = placed
            return
        share = (accelerator.process_index, self.processes)
        options = dict(k=config.top_k, temperature=config.temperature, autocast=self.autocast)
        if self.processes > 1:
            teacher_targets(placed, examples, **options, progress=progress, process=share[0], processes=share[1])
            accelerator.wait_for_everyone()
        self.targets = teacher_targets(placed, examples, **options, progress=progress)
        teacher.to("cpu")

    @contextlib.contextmanager
    def final_student(self):
        """The student that would be kept now, in eval mode: its weights or their average, with ``start_share`` of the start's."""
        student = self.average.model if self.average else self.student
        self.model.eval()
        yield self._mixed(student) if self.start else student
        self.listen()

    def _mixed(self, student):
        share, mixed = self.config.start_share, copy.deepcopy(student)
        for name, value in mixed.named_parameters():  # a tied weight comes once
            value.data.lerp_(self.start[name].to(value.device), share)
        return mixed

    def looked(self, dev_ce: float, step: int) -> None:
        """A look at the dev clips after ``step`` steps: phase A may end."""
        if self.curriculum.phase(step / self.config.steps, self.pace) == "A":
            self.pace.looked(dev_ce, step / self.config.steps, self.curriculum.patience)

    def listen(self) -> None:
        """Training mode; a frozen encoder stays as it is for decoding, since it answers for the teacher too."""
        self.model.train()
        if self.config.freeze_encoder:
            self.student.model.encoder.eval()

    def state(self) -> dict:
        """Everything that a later step depends on."""
        return {
            "student": self.student.state_dict(), "optimiser": self.optimiser.state_dict(),
            "self_teacher": self.self_teacher.model.state_dict() if self.self_teacher else None,
            "average": self.average.model.state_dict() if self.average else None, "pace": self.pace.state(),
        }

    def load(self, state: dict) -> None:
        """Go on from `state`."""
        self.student.load_state_dict(state["student"])
        self.optimiser.load_state_dict(state["optimiser"])
        if self.self_teacher is not None:
            self.self_teacher.model.load_state_dict(state["self_teacher"])
        if self.average is not None:
            self.average.model.load_state_dict(state["average"])
        self.pace = Pace(**state["pace"])

    def _rate(self, step: int) -> float:
        """Linear warm-up to 1, then linear decay to 0 at the last step."""
        warmup = max(1, round(self.config.warmup * self.config.steps))
        if step < warmup:
            return (step + 1) / warmup
        return linear((step - warmup) / max(1, self.config.steps - warmup), 1.0, 0.0)

    def _loss(self, batch: Batch, weights: Weights, scale: float) -> tuple[torch.Tensor, dict[str, float]]:
        encoded = targets = past = None
        with torch.no_grad(), self.accelerator.autocast():
            if self.config.freeze_encoder:  # one pass for all who hear with it
                encoded = encode(self.student, batch.features)
                self.clock.mark("encoder")
            if weights.self_teacher > 0:
                model = self.self_teacher.model
                past = States(label_states(model, batch, encoded), model.proj_out.weight)
        if weights.teacher > 0 and self.teacher is None:
            targets = self.targets.of(batch)
        elif weights.teacher > 0:
            # a frozen encoder with all its layers, on 30 s, is the teacher's own
            same = self.config.freeze_encoder and self.config.context == "full" and self.config.encoder_layers is None
            targets = token_targets(
                self.teacher, batch, self.config.top_k, self.config.temperature, self.autocast, encoded if same else None
            )
        self.clock.mark("teacher")
        student = States(self.model(batch, encoded), self.student.proj_out.weight)
        out = objective(
            student, batch.flat_labels, weights, self.curriculum, self.config.temperature, targets, past, scale, self.autocast
        )
        self.clock.mark("loss")
        return out

    def _summed(self, values: Sequence[float]) -> list[float]:
        """Sums over the processes."""
        if self.processes == 1:
            return list(values)
        return self.accelerator.reduce(torch.tensor(values, dtype=torch.float64, device=self.device), "sum").tolist()

    def learn(self, step: int, batches: Sequence[Batch]) -> dict[str, float]:
        """One optimiser step; the loss is the mean over all its label tokens, however it is split over lanes and processes."""
        progress, clock = step / self.config.steps, self.clock
        weights, phase = self.curriculum.weights(progress, self.pace), self.curriculum.phase(progress, self.pace)
        if weights.self_teacher > 0 and not self.self_teacher.ready(step):
            weights = weights.without_self()
        scale = self.curriculum.scale(progress, self.pace)
        batches = [batch.to(self.device) for batch in batches]
        clock.mark("data")
        counts = [len(batch.flat_labels) for batch in batches]
        tokens = int(self._summed([sum(counts)])[0])
        row = {}
        for i, (batch, count) in enumerate(zip(batches, counts, strict=True)):
            last = i == len(batches) - 1
            lane = self.accelerator.process_index + i * self.processes
            torch.manual_seed(self.config.seed + 1_000_003 * step + lane)  # where a teacher's config has dropout
            with contextlib.nullcontext() if last else self.accelerator.no_sync(self.model):
                loss, terms = self._loss(batch, weights, scale)
                share = count / tokens
                # DDP takes the mean over the processes, and this is one sum
                self.accelerator.backward(loss * (share * self.processes))
            clock.mark("decoder" if self.config.freeze_encoder else "encoder")
            for name, value in {"loss": loss.item(), **terms}.items():
                row[name] = row.get(name, 0.0) + share * value
        row = dict(zip(row, self._summed(list(row.values())), strict=True))
        norm = float(self.accelerator.clip_grad_norm_(self.model.parameters(), self.config.clip_norm))
        if not math.isfinite(row["loss"] + norm):
            raise TrainingDiverged(
                f"loss is {row['loss']}, gradient norm {norm} at step {step}: lower the learning rates "
                f"(encoder {self.config.encoder_lr:g}, decoder {self.config.decoder_lr:g}) or lengthen the warm-up; "
                "the last checkpoint is kept"
            )
        for group, base in zip(self.optimiser.param_groups, self.base_rates, strict=True):
            group["lr"] = base * self._rate(step)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        for follower in {id(f): f for f in (self.self_teacher, self.average) if f is not None}.values():
            follower.follow(self.student, phase, step)
        if "kl_teacher" in row:
            self.pace.learnt(row["kl_teacher"])
        clock.mark("optimiser")
        return row | {
            "grad_norm": norm, "rate": self._rate(step), "phase": phase,
            "w_label": weights.label, "w_teacher": weights.teacher, "w_self": weights.self_teacher,
        }

    @torch.no_grad()
    def cross_entropy(self, student, examples) -> float:
        """Mean over all label tokens of ``examples``, on the student's context. ``student``: in eval mode, as `final_student`."""
        order = sorted(range(len(examples)), key=lambda i: examples[i].frames)
        chunks = [order[i : i + DEV_BATCH] for i in range(0, len(order), DEV_BATCH)]
        padding = {"pad_frames": TAIL} if self.config.context == "clip" else {"frames": FULL_CONTEXT}
        total = tokens = 0
        for chunk in chunks[self.accelerator.process_index :: self.processes]:
            batch = collate(examples, chunk, **padding).to(self.device)
            with self.accelerator.autocast():
                hidden = label_states(student, batch)

            def of_chunk(logits, rows, labels=batch.flat_labels):
                return losses.cross_entropy(logits, labels[rows]), {}

            loss, _ = chunked_loss(hidden, student.proj_out.weight, of_chunk, autocast=self.autocast)
            total += loss.item() * len(batch.flat_labels)
            tokens += len(batch.flat_labels)
        total, tokens = self._summed([total, tokens])
        return total / tokens
