"""The plan of ``askd distill``: which settings, why, and how many minutes each stage takes.

    layers   kept decoder layers, by the hours of training speech: cut layers need data and steps to recover
    batch    at most a quarter of the training clips
    steps    as many as the hours allow after everything else, at most so many epochs
    clips    all there are; fewer where the hours do not reach for one pass over them

Times come from measurements on this machine (`Timings`). One plan is written to ``DIR/plan.json`` and holds for every later call.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from askd.clips import Clip
from askd.errors import AskdError, RunError
from askd.files import read_json
from askd.methods import get_method
from askd.notebook import table
from askd.owndata import HUB_CLIPS
from askd.timings import Timings

# All of this is ours, and not tuned. Why four layers of four: data/results/README.md.
LAYERS = ((1.0, 1.0), (10.0, 0.5), (float("inf"), 0.25))  # (hours of training speech below which, share of the decoder kept)
RECOVERY_STEPS = 500  # fewer steps do not mend a cut decoder: all layers are kept then
LEAST_STEPS = 20  # with fewer, and passes left, the hours are too few
EPOCHS = ((1.0, 10), (float("inf"), 4))  # (hours of training speech below which, passes over it)
MIX_BELOW_H = 0.5  # with less training speech, synthetic clips join in, one to each recording
LITTLE_CLIPS = 100  # below, the teacher may be hard to beat
FEW_TESTS = 30  # below, an interval is too wide to tell small differences; and dev clips too few to choose a student by
BATCH = 16
FREE_SHARE = 0.7  # of the free memory that a plan uses
RESERVE = 0.1  # of the hours, for what was estimated too short
FIXED_S = 60.0  # export and report
LATENCY = {"clips": 6, "repeats": 5, "warmup": 1}
WATCHED = 12  # looks at the dev clips
CHECKPOINT_S = 120.0  # work lost by kill -9, at most


@dataclass(frozen=True)
class Asked:
    """What the user asks for.

    Raises:
        AskdError, UnknownName: a value out of range; no such method.
    """

    teacher: str
    data: tuple[str, ...]
    hours: float = 2.0
    method: str = "askd"
    decoder_layers: int | None = None  # None: by the plan
    epochs: float | None = None  # at most; None: by the plan
    train_clips: int | None = None  # at most, of each source
    mix: int | None = None  # synthetic clips that join in; None: by the plan, 0: none
    seed: int = 0
    skip_bad: bool = False
    audio_root: str | None = None
    layout: str | None = None
    casing: str | None = None

    def __post_init__(self):
        get_method(self.method)
        object.__setattr__(self, "data", (self.data,) if isinstance(self.data, str) else tuple(self.data))
        if not self.data:
            raise AskdError("say what to train on: --data FOLDER, --data hub:ID")
        for name in ("hours", "epochs", "train_clips", "decoder_layers"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise AskdError(f"{name} must be positive, not {value}")
        if self.mix is not None and self.mix < 0:
            raise AskdError(f"mix must not be negative, but {self.mix} is")

    def sources(self) -> dict:
        """The options with which the recordings are read."""
        names = ("train_clips", "seed", "skip_bad", "audio_root", "layout", "casing")
        return {name: getattr(self, name) for name in names}

    def changes(self, earlier: Mapping) -> list[str]:
        """``hours 2.0 -> 1.0`` for every argument that is not what it was."""
        now = asdict(self) | {"data": list(self.data)}
        return [f"{name} {earlier.get(name)} -> {now[name]}" for name in now if earlier.get(name) != now[name]]


@dataclass(frozen=True)
class Plan:
    """Settings with their reasons, and the minutes they take."""

    asked: dict
    contents: str  # digest of the recordings
    amounts: dict  # by role: clips, minutes, speakers
    train: dict  # fields of `askd.trainconfig.TrainConfig`
    use: dict  # clips that are used, by role; and mixed in
    why: dict  # setting -> reason
    minutes: dict  # stage -> estimate
    timings: dict = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    licences: dict = field(default_factory=dict)  # of what is trained on, by source; "" where none is declared

    @classmethod
    def read(cls, path: Path | str) -> "Plan":
        """The plan of a file.

        Raises:
            RunError: it is damaged, or not of this program.
        """
        try:
            return cls(**read_json(path))
        except (ValueError, TypeError) as error:
            raise RunError(f"{path} cannot be read ({error}): move it away and call the command again; where training has begun, "
                           "a new plan needs --replan") from None

    def as_text(self) -> str:
        """The plan as tables: the data, the settings with their reasons, the minutes."""
        used = self.use | {"train": self.use["train"] - self.use["mixed in"]}
        data = [[role, a["clips"], a["minutes"], a["speakers"], used[role]] for role, a in self.amounts.items()]
        settings = [[name, _shown(value), self.why.get(name, "")] for name, value in self.shown().items()]
        total = sum(self.minutes.values())
        stages = [[stage, f"{minutes:.1f}"] for stage, minutes in [*self.minutes.items(), ("everything", total)]]
        return "\n\n".join([
            table(["data", "clips", "minutes", "speakers", "used"], data), _left(["setting", "value", "why"], settings),
            table(["stage", "minutes (estimate)"], stages) + f"\nallowed: {60 * self.asked['hours']:.1f}",
            *([" ! " + "\n ! ".join(self.notes)] if self.notes else []),
        ])

    def shown(self) -> dict:
        """Settings as they are listed."""
        names = ("method", "decoder_layers", "steps", "batch_size", "micro_batch_size", "encoder_lr", "decoder_lr", "precision",
                 "momentum", "dev_every", "checkpoint_every", "seed")
        return {name: self.train[name] for name in names if name in self.train} | {"mixed in": self.use["mixed in"]}


def _shown(value: object) -> str:
    return (f"{value:.1e}" if value < 0.01 else f"{value:.3g}") if isinstance(value, float) else str(value)


def _left(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(2)]
    return "\n".join(f"{row[0]:{widths[0]}}  {row[1]:{widths[1]}}  {row[2]}".rstrip() for row in [header, *rows])


def _below(hours: float, limits: Sequence[tuple[float, float]]) -> float:
    return next(value for limit, value in limits if hours < limit)


def settings(asked: Asked, clips: Sequence[Clip], own_h: float, shape: Mapping[str, int], precision: str, free_bytes: float,
             all_layers: bool = False) -> tuple[dict, dict]:
    """Everything but the number of steps: (fields of `TrainConfig`, reasons).

    Args:
        clips: all training clips, those mixed in among them.
        own_h: hours of the user's own among them.
        shape: d_model, encoder_layers, decoder_layers, vocab_size of the teacher.
        precision: what the machine computes in.
        free_bytes: memory for the run.
        all_layers: keep the whole decoder, since too few steps would follow.
    """
    has = shape["decoder_layers"]
    layers = asked.decoder_layers or max(min(2, has), round(has * _below(own_h, LAYERS)))
    if asked.decoder_layers:
        why = "as asked"
    elif all_layers:
        layers, why = has, f"all: fewer than {RECOVERY_STEPS} steps fit into the hours, too few to mend a cut decoder"
    elif layers == has and own_h >= LAYERS[0][0]:
        why = f"all: {has} are not cut further"
    elif layers == has:
        why = f"all: with under {LAYERS[0][0]:g} h of speech a cut decoder does not recover; short contexts make it fast"
    else:
        why = f"of {has}: {own_h:.1f} h of speech can mend what is cut"
    if layers > has:
        raise AskdError(f"decoder_layers must lie in [1, {has}] for this teacher, not {layers}")
    batch = 1
    while batch < BATCH and 8 * batch <= len(clips):
        batch *= 2
    scale = (384 / shape["d_model"]) ** 1.7 if shape["d_model"] > 384 else 1.0
    encoder_lr, decoder_lr = (3e-5, 1e-4) if layers == has else (5e-5, 2e-4)
    micro = micro_batch(batch, clips, shape | {"decoder_layers": layers}, free_bytes)
    train = {
        "method": asked.method, "decoder_layers": layers, "batch_size": batch, "micro_batch_size": micro,
        "encoder_lr": float(f"{encoder_lr * scale:.2g}"), "decoder_lr": float(f"{decoder_lr * scale:.2g}"),
        "precision": precision, "seed": asked.seed,
    }
    rates = "gentle, nothing was cut" if layers == has else "higher, layers were cut"
    return train, {
        "method": "the teacher fades, then the student's own past teaches" if asked.method == "askd" else "as asked",
        "decoder_layers": why,
        "batch_size": f"clips a step: {BATCH}, at most a quarter of the {len(clips)} training clips",
        "micro_batch_size": "one pass" if micro is None else f"clips a pass, so that it fits into {free_bytes / 1e9:.0f} GB",
        "encoder_lr": rates + ("" if scale == 1 else "; lower for a wide model, as Whisper itself was trained"),
        "decoder_lr": "the same", "precision": "what this machine multiplies fast", "seed": "",
    }


def micro_batch(batch: int, clips: Sequence[Clip], shape: Mapping[str, int], free_bytes: float) -> int | None:
    """Clips of one forward and backward pass; None is the whole batch. An upper estimate of what autograd keeps, in float32."""
    longest_s = max(clip.audio_s for clip in clips) + 2.0
    positions, tokens, width = 50 * longest_s, 4 * longest_s + 10, shape["d_model"]
    encoder = shape["encoder_layers"] * positions * width * 17
    decoder = shape["decoder_layers"] * width * (25 * tokens + 2 * positions)
    a_clip = 4 * (encoder + decoder + 4 * tokens * shape["vocab_size"])
    fit = int((FREE_SHARE * free_bytes - weight_bytes(shape)) / a_clip)
    if fit >= batch:
        return None
    micro = 1
    while 2 * micro <= fit:
        micro *= 2
    return micro


def weight_bytes(shape: Mapping[str, int]) -> int:
    """Of teacher, student, its gradients, two moments, EMA, and one to spare, in float32."""
    return 4 * shape["parameters"] * 7


def mix_size(asked: Asked, own_clips: int, own_h: float) -> tuple[int, str]:
    """How many synthetic clips join in, and why."""
    if asked.mix is not None:
        return asked.mix, "as asked"
    if own_h < MIX_BELOW_H:
        return own_clips, f"synthetic clips, one to each recording: there are less than {MIX_BELOW_H:g} h of them (--mix 0: none)"
    return 0, f"your own {own_h:.1f} h are enough to stand alone"


def fit(asked: Asked, train: dict, timings: Timings, clips: int, speech_h: float, dev: int, test: int) -> tuple[dict, dict, dict]:
    """Steps and clips that fit into the hours: (steps, momentum, dev_every, checkpoint_every), clips by role, minutes a stage.

    The EMA remembers ``1 / (1 - momentum)`` steps: a quarter of phase B, as profile ``real`` has it (ours); at least two.

    Args:
        asked, train: what was asked, and `settings`.
        timings: measured.
        clips, speech_h: training clips, and their hours.
        dev, test: clips of these.

    Raises:
        AskdError: the hours are too few for anything; the message says how many would do.
    """
    batch = train["batch_size"]
    teacher_s = timings.target_s if max(get_method(asked.method).weights(s).teacher for s in (0.0, 0.999)) > 0 else 0.0
    epochs = asked.epochs or _below(speech_h, EPOCHS)
    latency_s = min(LATENCY["clips"], test) * (LATENCY["repeats"] + LATENCY["warmup"]) * timings.one_s
    watch_s = WATCHED * dev * timings.step_s / batch / 3  # forward passes alone
    allowed = 3600 * asked.hours * (1 - RESERVE) - FIXED_S - timings.spent_s - timings.read_s - latency_s - watch_s
    all_tests, test = test, min(test, max(8, int(0.2 * allowed / timings.test_s)))
    left = allowed - test * timings.test_s
    wanted = max(1, int(epochs * clips / batch))
    steps = min(wanted, int((left - clips * teacher_s) / timings.step_s))
    if steps < wanted and steps * batch < clips:  # not even one pass fits: fewer clips, each once
        steps = min(wanted, int(left / (timings.step_s + batch * teacher_s)))
    clips, least = min(clips, steps * batch), min(LEAST_STEPS, wanted)
    if steps < least:
        training = least * (timings.step_s + batch * teacher_s)
        enough = training + min(all_tests * timings.test_s, max(8 * timings.test_s, 0.25 * training))
        needed = asked.hours + (enough - allowed) / 3600 / (1 - RESERVE)
        raise AskdError(
            f"{60 * asked.hours:.1f} minutes are too few on this machine: a step of {batch} clips takes {timings.step_s:.1f} s. "
            f"Give --hours {needed + 0.005:.2f} or more, or a smaller --teacher"
        )
    phase_b = (1 - get_method(asked.method).switch) * steps
    config = {
        "steps": steps, "momentum": round(1 - 1 / max(2.0, phase_b / 4), 4), "dev_every": max(1, round(steps / WATCHED)),
        "checkpoint_every": max(1, min(steps, round(CHECKPOINT_S / timings.step_s))),
    }
    seconds = {
        "reading": timings.read_s, "measuring": timings.spent_s, "teacher's answers": clips * teacher_s,
        "training": steps * timings.step_s + watch_s,
        "scoring": test * timings.test_s, "latency": latency_s, "export and report": FIXED_S,
    }
    return config, {"train": clips, "dev": dev, "test": test}, {stage: round(s / 60, 2) for stage, s in seconds.items()}


def why_steps(asked: Asked, steps: int, batch: int, clips: int, speech_h: float) -> str:
    """Passes over the clips, and what keeps them from being more."""
    limit, passes = asked.epochs or _below(speech_h, EPOCHS), f"{steps * batch / clips:.1f} passes over the clips"
    if int(limit * clips / batch) > steps:
        return f"{passes}: more do not fit into the hours (--hours)"
    return f"{passes}, " + ("as asked" if asked.epochs else f"at most {limit:g} with {speech_h:.1f} h of speech (--epochs)")


def advice(own: int, test: int, needed_bytes: float = 0.0, free_bytes: float = math.inf, capped: Sequence[str] = ()) -> list[str]:
    """What to say of few recordings, of little memory, and of Hub data sets that were not read to their end."""
    notes = []
    if own < LITTLE_CLIPS:
        notes.append(f"{own} training recordings are few: the teacher may be hard to beat; {LITTLE_CLIPS} are a start")
    if test < FEW_TESTS:
        notes.append(f"{test} test recordings tell only large differences apart: expect wide intervals")
    if needed_bytes > FREE_SHARE * free_bytes:
        notes.append(f"the weights of teacher, student and optimiser take {needed_bytes / 1e9:.1f} GB, {free_bytes / 1e9:.1f} GB "
                     "are free: it may fail for want of memory; take a smaller --teacher or a larger machine")
    notes += [f"{name}: at most {HUB_CLIPS['train']} recordings are trained on (--train-clips N: more)" for name in capped]
    return notes
