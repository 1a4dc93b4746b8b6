"""``askd distill``: your recordings in, a student with its scores, its report and its exports out.

    distill(Asked("tiny.en", ("my_recordings/",), hours=1), "runs/mine")

    DIR/plan.json          settings, reasons, estimates: written once, and followed by every later call
    DIR/student/           training (askd/training.py), then a transformers folder
    DIR/results/           student.json (which student ships), wer.json, latency.json, summary.json, hypotheses/
    DIR/export/hf, ct2     for other programs (askd/export.py)
    DIR/report.html        the executed notebook 07, with players of some of the recordings

Every stage leaves its result behind: after kill -9 the same command goes on where it was.
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from askd import plan as planning
from askd.domains import Domain, all_domains, get_domain
from askd.errors import RunError
from askd.files import digest, only_writer, read_json, write_json
from askd.hubsource import parse_hub
from askd.outcome import choose, in_words, judge
from askd.owndata import HUB_CLIPS, Parts, amount, contents, evenly, mixed_in, own_clips
from askd.plan import Asked, Plan
from askd.timings import device_here, free_memory, measure_machine

__all__ = ["Asked", "distill", "in_words", "located", "make_plan"]
EXPORTS = ("hf", "ct2")


def distill(asked: Asked, out: Path | str, plan_only: bool = False, replan: bool = False, progress: bool = True,
            exports: Sequence[str] = EXPORTS) -> dict:
    """Plan, distil, score, time and export; go on where an earlier call stopped.

    Args:
        asked: what to do.
        out: run folder.
        plan_only: stop with the plan. Where training has begun, a changed plan is returned and not written.
        replan: take changed arguments or recordings, and plan anew: a student trained otherwise is moved aside, not deleted, and
            so is its plan. Before training begins, the machine is measured anew in any case.
        progress: bars with ETA, and a new plan on the terminal.
        exports: ``hf``, ``ct2``.

    Returns:
        the content of ``results/summary.json``; of a plan alone, ``{"plan": fields of Plan}``.

    Raises:
        RunError: training has begun with other arguments; they are named. Or another process writes to ``out``, or its plan is
            damaged.
        AskdError: too little speech, too few hours, a recording at fault: named.
    """
    from askd.teacher import load_teacher

    asked, out = located(asked), Path(out)
    with only_writer(out):
        began = time.perf_counter()
        parts = own_clips(asked.data, progress=progress, **asked.sources())
        read_s = time.perf_counter() - began
        model, processor = load_teacher(asked.teacher)
        path = out / "plan.json"
        stamp = path.stat().st_mtime_ns if path.is_file() else None
        plan, mixed = make_plan(asked, out, parts, model, processor, replan, progress, plan_only, read_s)
        if plan_only:
            return {"plan": asdict(plan)}
        if progress:
            print(f"by the plan in {path}" if path.stat().st_mtime_ns == stamp else plan.as_text(), flush=True)
        return _carry_out(plan, out, clips_of(plan, parts, mixed), model, processor, progress, exports, replan)


def located(asked: Asked) -> Asked:
    """Paths made absolute, so that the report, which runs elsewhere, means the same."""
    def absolute(name: str) -> str:
        if name.startswith("hub:"):
            source, (_, mark, query) = parse_hub(name), name.partition("?")
            return f"hub:{source.path}{mark}{query}" if source.local else name
        return name if name in all_domains() or not Path(name).exists() else str(Path(name).resolve())

    teacher = str(Path(asked.teacher).resolve()) if Path(asked.teacher).is_dir() else asked.teacher
    root = str(Path(asked.audio_root).resolve()) if asked.audio_root else None
    return replace(asked, teacher=teacher, data=tuple(absolute(name) for name in asked.data), audio_root=root)


# ---- the plan ---------------------------------------------------------------------------------------------------------


def make_plan(
    asked: Asked, out: Path, parts: Parts, model, processor, replan: bool = False, progress: bool = True, plan_only: bool = False,
    read_s: float = 0.0,
):
    """The plan of ``out`` and the synthetic clips of it: read where there is one, else measured and written.

    Args:
        asked, replan, plan_only, progress: as in `distill`.
        out, parts, model, processor: its folder, recordings and teacher.
        read_s: seconds that reading the recordings took.

    Raises:
        RunError: training has begun by another plan, and ``replan`` was not said; what changed is named.
    """
    from askd.trainconfig import fast_precision

    path, began = out / "plan.json", time.perf_counter() - read_s
    begun, old = (out / "student" / "training.json").is_file(), None
    own_h = sum(clip.audio_s for clip in parts["train"]) / 3600
    mix, why_mix = planning.mix_size(asked, len(parts["train"]), own_h)
    if path.is_file() and (begun or not replan):
        old = Plan.read(path)
        changes = asked.changes(old.asked) + (["the recordings"] if old.contents != contents(parts) else [])
        if not changes:
            if replan and progress:
                print("--replan: nothing has changed since training began; it goes on by its plan")
            return old, mixed_in(old.use["drawn"], asked.seed, progress) if old.use["drawn"] else []
        if begun and not (replan or plan_only):
            raise RunError(
                f"{out} has begun with another plan; changed: {'; '.join(changes)}. Give the arguments it had, another --out, or "
                "--replan: then the student trained so far is moved aside"
            )
        print(f"planning anew, changed: {'; '.join(changes)}")
    mixed = mixed_in(mix, asked.seed, progress) if mix else []
    clips = [*parts["train"], *mixed]
    speech_h = sum(clip.audio_s for clip in clips) / 3600
    shape = {name: getattr(model.config, name) for name in ("d_model", "encoder_layers", "decoder_layers", "vocab_size")}
    shape["parameters"] = model.num_parameters()
    device = device_here()
    about = (asked, clips, own_h, shape, fast_precision(device), free_memory())
    read_s = time.perf_counter() - began
    if progress:
        print("measuring this machine", flush=True)
    fields, why = planning.settings(*about)
    counts = (len(clips), speech_h, len(parts["dev"]), len(parts["test"]))
    timings = replace(measure_machine(fields, clips, parts["test"], model, processor, device), read_s=read_s)
    steps, use, minutes = planning.fit(asked, fields, timings, *counts)
    cut = asked.decoder_layers is None and fields["decoder_layers"] < shape["decoder_layers"]
    if cut and steps["steps"] < planning.RECOVERY_STEPS:
        fields, why = planning.settings(*about, all_layers=True)
        again = measure_machine(fields, clips, parts["test"], model, processor, device)
        timings = replace(again, spent_s=timings.spent_s + again.spent_s, read_s=read_s)
        steps, use, minutes = planning.fit(asked, fields, timings, *counts)
    why_steps = planning.why_steps(asked, steps["steps"], fields["batch_size"], len(clips), speech_h)
    used_mixed = round(use["train"] * len(mixed) / len(clips))
    plan = Plan(
        asked=asdict(asked) | {"data": list(asked.data)}, contents=contents(parts), train=fields | steps,
        amounts={role: amount(part) for role, part in parts.items()} | ({"mixed in": amount(mixed)} if mixed else {}),
        use={"train": use["train"], "dev": use["dev"], "test": use["test"], "mixed in": used_mixed, "drawn": len(mixed)},
        why=why | {"mixed in": why_mix, "steps": why_steps, "momentum": "of the EMA: it remembers a quarter of phase B",
                   "dev_every": "steps; about a dozen looks",
                   "checkpoint_every": f"steps; kill -9 costs at most {planning.CHECKPOINT_S:.0f} s"},
        minutes=minutes, timings=asdict(timings), notes=tuple(planning.advice(
            len(parts["train"]), len(parts["test"]), planning.weight_bytes(shape), about[-1], _capped(asked, parts))),
    )
    trained = {clip.domain for clip in clips_of(plan, parts, mixed)["train"]}
    plan = replace(plan, licences={source_name(d): d.licence for d in map(get_domain, asked.data) if d.name in trained})
    if begun and plan_only:
        print("not written, since training has begun: --replan without --plan takes it")
        return plan, mixed
    if old and begun:
        write_json(out / f"plan.old-{digest(asdict(old), 6)}.json", asdict(old))
    write_json(path, asdict(plan))
    return Plan.read(path), mixed  # as every later call will see it


def _capped(asked: Asked, parts: Parts) -> list[str]:
    """Hub data sets of which there may be more than was read; up to a fifth of that was set aside."""
    count = Counter(clip.domain for clip in parts["train"])
    hubs = [d for d in map(get_domain, asked.data) if d.source == "hub"]
    return [d.hub for d in hubs if asked.train_clips is None and count[d.name] >= 0.8 * HUB_CLIPS["train"]]


def source_name(domain: Domain) -> str:
    """What a model card calls it: the whole id of a Hub data set, the name of a folder."""
    source = parse_hub(domain.hub) if domain.hub else None
    return source.id if source and not source.local else domain.name


def clips_of(plan: Plan, parts: Parts, mixed: Sequence) -> Parts:
    """The clips that a plan uses: spread over all there are."""
    own = evenly(parts["train"], plan.use["train"] - plan.use["mixed in"])
    train = own + evenly(mixed, plan.use["mixed in"])
    return {"train": train, "dev": parts["dev"], "test": evenly(parts["test"], plan.use["test"])}


# ---- carrying it out --------------------------------------------------------------------------------------------------


def _carry_out(
    plan: Plan, out: Path, clips: Parts, teacher, processor, progress: bool, exports: Sequence[str], replan: bool
) -> dict:
    from askd.trainconfig import TrainConfig
    from askd.training import train

    config = TrainConfig(**plan.train)
    if not replan:
        _check_same(config, teacher, clips, out / "student")
    (out / "results" / "student.json").unlink(missing_ok=True)  # until it is known which one ships
    train(config, teacher, processor, clips["train"], out / "student", clips["dev"], progress, plan.asked["skip_bad"])
    choose(out, len(clips["dev"]))
    trained = {clip.domain for clip in clips["train"]}
    return judge(plan.asked, out, clips["test"], teacher, processor, trained, exports, progress)


def _check_same(config, teacher, clips: Parts, student: Path) -> None:
    """Refuse what `askd.training.train` would move aside: a student of other settings, clips or weights than the plan gives."""
    from askd.trackers import flat
    from askd.training import what_decides

    if not (student / "training.json").is_file():
        return
    now = flat(what_decides(config, teacher, clips["train"], clips["dev"]))
    old = flat(read_json(student / "training.json"))
    changed = [f"{name} {str(old.get(name))[:12]} -> {str(now.get(name))[:12]}" for name in now | old
               if old.get(name) != now.get(name)]
    if changed:
        raise RunError(f"{student} was trained with other settings, clips or weights of the teacher than now; changed: "
                       f"{'; '.join(changed)}. Put back what it had, or give another --out, or --replan: then it is moved aside")
