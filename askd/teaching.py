r"""What notebooks 01 to 03 compute and draw beyond a short cell: a model's whole answers on a clip, figures that explain.

    from askd.teaching import answers, hardest, token_figure
    clip = hardest(teacher, processor, clips)                # the one on which the teacher is wrong most often
    y, log_p = answers(teacher, processor, [clip])           # (N,), (N, V)
    p_label = log_p.gather(1, y[:, None])[:, 0].exp()        # p_n(y_n), (N,)

Axes: ``N`` label tokens, ``V`` vocabulary, ``M`` students on a line, ``E`` events of a small distribution.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.colors import to_hex
from torch import Tensor

from askd.batches import collate, make_examples
from askd.clips import Clip
from askd.decoding import SPREAD, TAIL, context_frames
from askd.directlabels import readable
from askd.divergences import DIVERGENCES
from askd.errors import AskdError
from askd.features import FULL_CONTEXT
from askd.figures import COLOURS, label
from askd.files import data_dir, read_json
from askd.targets import label_logits

NAMES = {
    "forward_kl": "forward KL", "reverse_kl": "reverse KL", "jensen_shannon": "Jensen-Shannon", "skew_kl": "skew KL",
    "decoupled_kd": "decoupled KD", "logit_mse": "logit MSE",
}
STYLES = {  # the two that agree on a line lie over each other: one broken, one not
    "forward_kl": "-", "reverse_kl": "-", "jensen_shannon": "-", "skew_kl": "-", "decoupled_kd": "--", "logit_mse": "--",
}
SELF_COLOURS = {"student": "#000000", "ema": "#D55E00", "snapshot": "#0072B2", "previous_epoch": "#009E73"}


class Answers(NamedTuple):
    """What a model says at every label token when it is given the right beginning (teacher forcing)."""

    labels: Tensor  # (N,), y
    log_p: Tensor  # (N, V), at temperature 1


@torch.inference_mode()
def answers(model, processor, clips: Sequence[Clip]) -> Answers:
    """The model's distribution at each label token of some clips, one clip after the other.

    It hears the context that it wants, as in `askd.forced`. Keep the clips few: a token takes ``4 V`` bytes, 0.2 MB.

    Args:
        model, processor: from `askd.load_teacher`.
        clips: at most 30 s each.

    Raises:
        AudioError, AskdError: as `askd.batches.make_examples`.
    """
    examples, device = make_examples(clips, model, processor), next(model.parameters()).device
    labels, log_p = [], []
    for i, example in enumerate(examples):
        own = min(FULL_CONTEXT, -(-(example.frames + TAIL) // SPREAD) * SPREAD)
        batch = collate(examples, [i], context_frames(model) or own).to(device)
        labels.append(batch.flat_labels.cpu())  # (n,)
        log_p.append(label_logits(model, batch).float().log_softmax(-1).cpu())  # (n, V)
    return Answers(torch.cat(labels), torch.cat(log_p))


def hardest(model, processor, clips: Sequence[Clip], domain: str = "formant_telephone", among: int = 6) -> Clip:
    """Of the first clips of a domain, the one on whose label tokens the model's best token is wrong most often.

    Args:
        model, processor: from `askd.load_teacher`.
        clips: of any domains.
        domain: whose. Default the teacher's worst blind spot among those that are trained on (measured in notebook 00).
        among: number of clips that are tried. Default 6, all that the smoke run has (ours).

    Raises:
        AskdError: no clip of that domain.
    """
    candidates = [clip for clip in clips if clip.domain == domain][:among]
    if not candidates:
        there = ", ".join(dict.fromkeys(clip.domain for clip in clips)) or "none"
        raise AskdError(f"no clip of domain {domain}: there are clips of {there}")

    def wrong(clip: Clip) -> float:
        y, log_p = answers(model, processor, [clip])
        return (log_p.argmax(-1) != y).float().mean().item()

    return max(candidates, key=wrong)


def words(processor, tokens: Sequence[int]) -> list[str]:
    """Tokens as one can read them under an axis: without their space, the end as ``(end)``."""
    texts = [processor.tokenizer.decode([int(token)]) for token in tokens]
    return ["(end)" if text == "<|endoftext|>" else text.strip() or "(space)" for text in texts]


def entropy(log_p: Tensor) -> Tensor:
    """H_n = - sum_v p_n(v) log p_n(v), (N,) nats, of log-probabilities (N, V)."""
    return -(log_p.exp() * log_p).sum(-1)


def committed(name: str, command: str) -> dict | None:
    """A result that lies in git, or None after one line that says what makes it.

    Args:
        name: below ``data/results``: ``real/ablation.json``.
        command: that makes it.
    """
    path = data_dir() / "results" / name
    if path.is_file():
        return read_json(path)
    print(f"data/results/{name} is not here: {command} makes it")
    return None


def students_on_a_line(cover: Sequence[float], seek: Sequence[float], count: int = 101) -> tuple[Tensor, Tensor]:
    """Distributions between two: ``q_a = (1 - a) cover + a seek``.

    Args:
        cover, seek: (E,), probabilities that sum to one.
        count: M.

    Returns:
        a (M,) from 0 to 1, and log q_a (M, E).
    """
    a = torch.linspace(0, 1, count, dtype=torch.float64)  # (M,)
    ends = torch.tensor([cover, seek], dtype=torch.float64)  # (2, E)
    return a, (torch.stack([1 - a, a], -1) @ ends).log()


def divergences_of(log_p: Tensor, log_q: Tensor, place: int = 0) -> dict[str, Tensor]:
    """Every divergence of M students from one teacher, by name, each (M,).

    Args:
        log_p: (E,), teacher.
        log_q: (M, E), students.
        place: of the label among the events, for decoupled_kd.
    """
    log_p = log_p.to(log_q).expand_as(log_q)  # (M, E)
    own = {"decoupled_kd": {"place": torch.full(log_q.shape[:1], place)}}
    return {name: measure(log_p, log_q, **own.get(name, {})) for name, measure in DIVERGENCES.items()}


def disagreement_figure(a: Tensor, found: Mapping[str, Tensor]) -> plt.Figure:
    """Each divergence along a line of students, from 0 at its best student to 1 at its worst.

    Args:
        a: (M,), place on the line.
        found: of `divergences_of`.
    """
    figure, ax = plt.subplots(figsize=(7.6, 3.4), layout="constrained")
    for i, (name, values) in enumerate(found.items()):
        span = values.max() - values.min()
        best = a[values.argmin()].item()
        told = f"{NAMES[name]}, best at {best:.2f}"
        ax.plot(a, (values - values.min()) / span, STYLES[name], color=f"C{i}", gid=name, label=told)
        ax.plot(best, 0, "o", color=f"C{i}", markersize=7 if STYLES[name] == "-" else 4, clip_on=False, zorder=3)
    ax.set(xlabel="student: 0 covers all tokens, 1 bets on one of them", xlim=(0, 1), ylim=(0, 1.03),
           ylabel="0: its best student, 1: its worst", title="Which student a divergence wants")
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def token_figure(
    labels: Sequence[str], said: Sequence[str], wrong: Tensor, p_label: Mapping[str, Tensor], p_said: Mapping[str, Tensor]
) -> plt.Figure:
    """Per label token: the probability of the label, and below, where the teacher is wrong, of what it says instead.

    Args:
        labels: the N label tokens, readable.
        said: the teacher's best tokens, readable.
        wrong: (N,) bool, where the two differ.
        p_label: by model, p_n(y_n), (N,); the teacher as bars, others as dots.
        p_said: by model, the probability of the teacher's best token, (N,).
    """
    wrong = [i for i, differs in enumerate(wrong) if differs]
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(9, 4.6), sharex=True, layout="constrained")
    places = np.arange(len(labels))
    for ax, values, shown in ((top, p_label, list(places)), (bottom, p_said, wrong)):
        for i in wrong:
            ax.axvspan(i - 0.5, i + 0.5, color="#FBE3DF", linewidth=0, zorder=0)
        students = [name for name in values if name != "teacher"]
        for name, p in values.items():
            heights = np.asarray(p)[shown]
            if name == "teacher":
                ax.bar(shown, heights, 0.72, color="#BBBBBB", label="the teacher", zorder=1)
                continue
            shift = 0.26 * (students.index(name) - (len(students) - 1) / 2)
            ax.plot(np.array(shown) + shift, heights, "o", color=COLOURS.get(name), label=label(name), markersize=5, gid=name)
        ax.set(ylim=(0, 1.02), ylabel="probability", xlim=(-0.5, len(labels) - 0.5))
    top.set_title("of the label")
    bottom.set_title("of the teacher's error")
    marks = [f"{y} \u2192 {said[i]}" if i in wrong else y for i, y in enumerate(labels)]
    bottom.set_xticks(places, marks, rotation=55, ha="right", rotation_mode="anchor", fontsize=8.5)
    for i in wrong:
        bottom.get_xticklabels()[i].set_color("#C0392B")
    top.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def schedules_and_gap(schedules: Mapping[str, object], start: float = 0.8, end: float = 0.0) -> plt.Figure:
    """Schedules over the time of phase A, a panel each, and ``adaptive`` over what it looks at in place of time.

    Args:
        schedules: `askd.schedules.SCHEDULES`, or some of them.
        start, end: lambda at both ends.
    """
    columns = 4
    rows = -(-len(schedules) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(8.8, 1.75 * rows + 0.3), sharex=True, sharey=True, layout="constrained",
                                squeeze=False)
    s = np.linspace(0, 1, 201)
    by_clock = {name: [schedule(x, start, end) for x in s] for name, schedule in schedules.items() if name != "adaptive"}
    for ax in axes.flat[len(schedules) :]:
        ax.set_visible(False)
    for ax, (name, schedule) in zip(axes.flat, schedules.items(), strict=False):
        learnt = name == "adaptive"
        for other in () if learnt else by_clock.values():
            ax.plot(s, other, color="#DDDDDD", linewidth=1, zorder=1)
        ax.plot(s, [schedule(x, start, end) for x in s], color="#D55E00" if learnt else "#0072B2", linewidth=2.4, gid=name)
        ax.set_title(f"{name}, by what was learnt" if learnt else name, fontsize=10, color="#D55E00" if learnt else "black")
        ax.set(ylim=(-0.03, start + 0.05), xlim=(0, 1), xticks=(0, 0.5, 1))
        ax.tick_params(labelbottom=True)
        if learnt:
            ax.set_xlabel("closed share c of the gap", fontsize=9)
    figure.supxlabel("share of phase A that is over", fontsize=9)
    figure.supylabel("teacher's weight $\\lambda$", fontsize=9)
    return figure


def pace_figure(
    s: Sequence[float], divergence: Sequence[float], closed: Sequence[float], weights: Mapping[str, Sequence[float]]
) -> plt.Figure:
    """A divergence over training, the share of it that is closed, and the teacher's weight that follows.

    Args:
        s: (steps,), progress.
        divergence: (steps,), of each step, nats.
        closed: (steps,), `askd.pace.Pace.closed` after each.
        weights: by schedule, the teacher's weight at each.
    """
    figure, axes = plt.subplots(1, 3, figsize=(9.4, 2.8), sharex=True, layout="constrained")
    axes[0].plot(s, divergence, ".", color="#777777", markersize=3)
    axes[0].set(ylim=(0, None), title="Divergence d, made up", ylabel="nats a token")
    axes[1].plot(s, closed, color="#009E73")
    axes[1].set(ylim=(0, 1.02), title="Closed share c")
    for i, (name, values) in enumerate(weights.items()):
        axes[2].plot(s, values, color=f"C{i}", gid=name)
        axes[2].text(0.97, 0.95 - 0.12 * i, name, color=readable(to_hex(f"C{i}")), transform=axes[2].transAxes, ha="right",
                     va="top")
    axes[2].set(ylim=(-0.02, 0.9), title="Teacher's weight $\\lambda$")
    figure.supxlabel("progress s", fontsize=9)
    return figure


def self_teacher_figure(traces: Mapping[str, Sequence[float]], switch: float, epoch_steps: int) -> plt.Figure:
    """One weight of the student and what each self-teacher holds of it, over the steps.

    Args:
        traces: by kind of self-teacher, and ``student``, its weight after each step.
        switch: step at which phase B begins.
        epoch_steps: steps of one pass over the clips.
    """
    figure, ax = plt.subplots(figsize=(7.6, 3), layout="constrained")
    for name, values in traces.items():
        ax.plot(range(1, len(values) + 1), values, color=SELF_COLOURS[name], gid=name,
                label="EMA" if name == "ema" else name.replace("_", " "), linewidth=1 if name == "student" else 2)
    for step in range(epoch_steps, len(traces["student"]) + 1, epoch_steps):
        ax.plot([step, step], [0, 0.03], color="#009E73", transform=ax.get_xaxis_transform(), clip_on=False)
    ax.axvline(switch, color="black", linewidth=0.8, linestyle=":", gid="switch")
    ax.annotate("phase B", (switch, 1), (3, 2), xycoords=("data", "axes fraction"), textcoords="offset points", fontsize=8.5)
    ax.set(xlabel="step (ticks below: an epoch ends)", ylabel="the one weight", xlim=(0, len(traces["student"])))
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def certainty_figure(student: Tensor, self_teacher: Tensor, right: Tensor) -> plt.Figure:
    """Entropy of the self-teacher against the student's, a dot a token: above the diagonal the self-teacher is less sure.

    Args:
        student, self_teacher: (N,), nats.
        right: (N,) bool, where the student's best token is the label.
    """
    figure, ax = plt.subplots(figsize=(4.6, 4), layout="constrained")
    top = 1.05 * max(student.max().item(), self_teacher.max().item())
    ax.plot([0, top], [0, top], color="#777777", linewidth=0.8)
    for chosen, name, colour in ((right, "right", "#009E73"), (~right, "wrong", "#D55E00")):
        ax.plot(student[chosen], self_teacher[chosen], "o", color=colour, markersize=4, alpha=0.6, gid=name)
        ax.annotate(f"the student is {name}", (0 if name == "right" else 0.55, 1), (0, 4), xycoords="axes fraction",
                    textcoords="offset points", color=readable(colour), fontweight="bold")
    ax.set(xlabel="entropy of the student, nats", ylabel="of the self-teacher", xlim=(0, top), ylim=(0, top), aspect="equal")
    return figure
