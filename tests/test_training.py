"""The loop: batches, targets, objective, resume after kill -9, accumulation, divergence. A toy Whisper on real clips."""

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from askd import losses
from askd.batches import batch_plan, collate, make_examples
from askd.clips import Clip
from askd.decoding import TAIL, context_frames
from askd.devwer import dev_wer
from askd.errors import AskdError, CacheError, RunError, TrainingDiverged
from askd.learner import Learner
from askd.losses import IGNORE
from askd.methods import METHODS
from askd.objective import States, objective
from askd.pace import Pace
from askd.specaugment import masked
from askd.targets import TokenTargets, label_logits, teacher_targets, token_targets
from askd.teacher import load_teacher
from askd.trainconfig import fast_precision
from askd.traindata import StoredData, step_batches
from askd.training import TrainConfig, read_metrics, save_model, train

FAST = dict(steps=8, batch_size=4, top_k=8, precision="fp32", checkpoint_every=3, dev_every=4, encoder_lr=1e-3, decoder_lr=1e-3)


def weights_of(folder):
    return load_teacher(folder).model.state_dict()


def same_weights(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# ---- batches ----------------------------------------------------------------------------------------------------------


def test_plan_is_a_function_of_the_seed_and_covers_every_clip():
    lengths = np.random.default_rng(0).integers(100, 1000, 100)
    plan = batch_plan(lengths, 8, 36, seed=3)
    assert all(np.array_equal(a, b) for a, b in zip(plan, batch_plan(lengths, 8, 36, seed=3), strict=True))
    assert all(np.array_equal(a, b) for a, b in zip(plan[:10], batch_plan(lengths, 8, 10, seed=3), strict=True))
    assert not np.array_equal(plan[0], batch_plan(lengths, 8, 36, seed=4)[0])
    for epoch in range(3):
        rows = np.concatenate(plan[12 * epoch : 12 * epoch + 12])
        assert len(set(rows.tolist())) == len(rows) == 96  # 12 whole batches of 100 clips
    spread = np.mean([lengths[rows].max() - lengths[rows].min() for rows in plan])
    assert spread < 0.35 * (lengths.max() - lengths.min())  # bucketed
    assert not all(np.array_equal(*pair) for pair in zip(plan[:12], plan[12:24], strict=True))  # each epoch has its own order
    with pytest.raises(AskdError, match="fewer than one batch"):
        batch_plan([5, 5], 4, 1, 0)


def test_collate_predicts_each_token_from_those_before_it(tiny_en, clips):
    examples = make_examples(clips[:3], *tiny_en)
    batch = collate(examples, [0, 2, 1], pad_frames=50)
    for row, i in enumerate((0, 2, 1)):
        tokens = examples[i].tokens
        scored = batch.labels[row] != IGNORE
        assert tuple(batch.labels[row][scored].tolist()) == tokens[2:]  # text and end, not the prompt
        first = int(scored.nonzero()[0])
        assert batch.decoder_ids[row, : first + 1].tolist() == [50257, 50362]
        assert tiny_en.processor.tokenizer.decode(tokens[2:-1]).strip() == clips[i].text
    assert batch.features.shape[-1] % 2 == 0


def test_transcripts_that_do_not_fit_are_named(tiny_en, clips):
    empty = Clip("row-7", "d", "s", "  ", 1.0, clips[0].path, clips[0].sha256)
    with pytest.raises(AskdError, match="row-7: empty"):
        make_examples([empty], *tiny_en)
    with pytest.raises(AskdError, match=r"row-8: \d+ tokens"):
        make_examples([Clip("row-8", "d", "s", "word " * 500, 1.0, clips[0].path, clips[0].sha256)], *tiny_en)


# ---- targets and objective --------------------------------------------------------------------------------------------


def test_cached_targets_are_the_teachers_own(toy, tiny_en, clips, tmp_path, monkeypatch):
    monkeypatch.setenv("ASKD_CACHE", str(tmp_path))
    examples = make_examples(clips[:5], toy, tiny_en.processor)
    targets = teacher_targets(toy, examples, k=16, temperature=2.0, batch_size=2)
    batch = collate(examples, [3, 1], frames=3000)
    tokens = targets.of(batch)
    with torch.inference_mode():
        logits = label_logits(toy, batch)
    labels = batch.labels[batch.labels != IGNORE]
    _, kept, _ = losses.topk_log_probs(logits, 16, 2.0, labels)
    torch.testing.assert_close(tokens.log_kept, kept, atol=2e-2, rtol=0)
    torch.testing.assert_close(tokens.label_log_prob, logits.log_softmax(-1).gather(1, labels[:, None])[:, 0], atol=1e-3, rtol=0)
    assert torch.equal(tokens.argmax_right, logits.argmax(-1) == labels)
    assert tokens.gate("none").tolist() == [1.0] * len(labels)
    assert set(tokens.gate("argmax").tolist()) <= {0.0, 1.0}
    file = next((tmp_path / "targets").glob("*.safetensors"))
    whole = file.read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:]):  # cut; one bit turned
        file.unlink()
        file.write_bytes(damaged)
        again = teacher_targets(toy, examples, k=16, temperature=2.0, batch_size=2).of(batch)  # made again, equal
        assert torch.equal(again.ids, tokens.ids) and file.read_bytes() == whole


def test_targets_are_mapped_into_memory_and_shared_by_processes(toy, tiny_en, clips, tmp_path, monkeypatch):
    monkeypatch.setenv("ASKD_CACHE", str(tmp_path))
    monkeypatch.setattr("askd.targets.PART", 2)
    examples = make_examples(clips[:5], toy, tiny_en.processor)
    for process in range(2):  # each its share, nothing twice
        teacher_targets(toy, examples, k=16, process=process, processes=2)
        assert len(list((tmp_path / "targets").glob("*"))) == (2, 3)[process]
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "targets").glob("*")}
    targets = teacher_targets(toy, examples, k=16)
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "targets").glob("*")}
    if (maps := Path("/proc/self/maps")).exists():  # Linux
        assert sum(str(path) in maps.read_text() for path in before) == 3
    batch = collate(examples, [4, 0, 3])
    expected = token_targets(toy, batch, 16, 2.0)
    found = targets.of(batch)
    assert torch.equal(found.argmax_right, expected.argmax_right)
    torch.testing.assert_close(found.log_kept, expected.log_kept, atol=1e-2, rtol=0)
    torch.testing.assert_close(found.label_log_prob, expected.label_log_prob, atol=1e-4, rtol=0)


def test_kept_targets_belong_to_their_settings(toy, tiny_en, clips, tmp_path, monkeypatch):
    """Another temperature, K, teacher or transcript: other files, which are never read for these."""
    monkeypatch.setenv("ASKD_CACHE", str(tmp_path))
    examples = make_examples(clips[:2], toy, tiny_en.processor)
    other = make_examples([replace(clips[0], text="something else"), clips[1]], toy, tiny_en.processor)
    mild, sharp = teacher_targets(toy, examples, k=8), teacher_targets(toy, examples, k=8, temperature=1.0)
    assert sharp.of_examples([0]).log_rest.mean() < mild.of_examples([0]).log_rest.mean()  # a lower temperature: less is left
    teacher_targets(toy, examples, k=9), teacher_targets(toy, other, k=8)
    toy.model.decoder.layer_norm.weight.data.mul_(2)
    assert not torch.equal(teacher_targets(toy, examples, k=8).of_examples([0]).log_kept, mild.of_examples([0]).log_kept)
    assert len(list((tmp_path / "targets").glob("*.safetensors"))) == 5


def test_gates_trust_the_teacher_where_it_is_right():
    ids = torch.tensor([[3, 1], [4, 2]])  # the labels are 3, the teacher's best token, and 2, which it gives a quarter
    told = TokenTargets(ids, torch.zeros(2, 2), torch.zeros(2), torch.tensor([0.9, 0.25]).log(), torch.tensor([True, False]))
    assert told.gate("none").tolist() == [1, 1]
    assert told.gate("argmax").tolist() == [1, 0]
    assert told.gate("probability").tolist() == pytest.approx([0.9, 0.25])


def test_objective_is_the_weighted_sum(toy, tiny_en, clips):
    examples = make_examples(clips[:2], toy, tiny_en.processor)
    config = TrainConfig(method="askd")
    curriculum = config.curriculum()
    targets = teacher_targets(toy, examples, k=32)
    batch = collate(examples, [0, 1])
    labels = batch.flat_labels
    student = States(torch.randn(len(labels), 8, requires_grad=True), torch.randn(51864, 8))  # 8: any width
    told = targets.of(batch)
    total, terms = objective(student, labels, curriculum.weights(0.3), curriculum, 2.0, told)
    assert set(terms) == {"ce", "kl_teacher"}
    assert total.item() == pytest.approx(0.6 * terms["ce"] + 0.4 * terms["kl_teacher"], rel=1e-5)
    logits = student.hidden @ student.weight.T
    assert terms["ce"] == pytest.approx(losses.cross_entropy(logits, labels).item(), rel=1e-5)
    kept = (told.ids, told.log_kept, told.log_rest, labels)
    expected = losses.topk_distillation(logits, *kept, gate=told.gate("argmax"))
    assert terms["kl_teacher"] == pytest.approx(expected.item(), rel=1e-5)
    total, terms = objective(student, labels, curriculum.weights(0.9), curriculum, 2.0, None, student)
    assert set(terms) == {"ce", "kl_self"} and terms["kl_self"] == pytest.approx(0, abs=1e-5)
    assert total.item() == pytest.approx(0.5 * terms["ce"], rel=1e-5)
    total.backward()
    assert student.hidden.grad.abs().max() > 0
    annealing = TrainConfig(method="annealing_kd").curriculum()
    raw = [objective(student, labels, annealing.weights(0.1), annealing, 2.0, told, scale=s)[1]["kl_teacher"] for s in (0.1, 1.0)]
    own = [losses.topk_distillation(logits, *kept, divergence="logit_mse", scale=s).item() for s in (0.1, 1.0)]
    assert raw == pytest.approx(own, rel=1e-5) and raw[0] != raw[1]


# ---- the loop ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_and_leaves_a_plain_whisper(method, toy, tiny_en, clips, tmp_path):
    out = train(TrainConfig(method=method, **FAST), toy, tiny_en.processor, clips, tmp_path / "run", clips[:4], progress=False)
    rows = read_metrics(out)
    assert [row["step"] for row in rows] == list(range(1, 9))
    learnt = [row["ce"] for row in rows if "ce" in row]  # the loss itself is another mixture at each step
    assert learnt[-1] < learnt[0] and "dev_ce" in rows[-1]
    curriculum = METHODS[method]
    assert ("kl_teacher" in rows[0]) == (curriculum.weights(0).teacher > 0)
    assert ("kl_teacher" in rows[-1]) == (curriculum.weights(7 / 8).teacher > 0)
    assert ("kl_self" in rows[-1]) == (curriculum.weights(7 / 8).self_teacher > 0)
    model, processor = load_teacher(out)
    assert model.config.decoder_layers == 2 and context_frames(model) is None
    assert processor.tokenizer.decode([15496]) == "Hello"
    from transformers import pipeline

    asr = pipeline("automatic-speech-recognition", model=str(out))  # a plain Whisper folder, on the padded 30 s
    heard = asr({"raw": clips[0].samples(), "sampling_rate": 16000}, generate_kwargs={"max_new_tokens": 4})
    assert isinstance(heard["text"], str)
    assert list((out / "tensorboard").rglob("events*"))
    assert not (out / "checkpoints").exists()
    before = (out / "model.safetensors").stat().st_mtime_ns
    train(TrainConfig(method=method, **FAST), toy, tiny_en.processor, clips, out, clips[:4], progress=False)
    assert (out / "model.safetensors").stat().st_mtime_ns == before  # finished: nothing is done again
    old = json.loads((out / "training.json").read_text())  # of a time when there were fewer settings
    del old["config"]["start_share"], old["curriculum"]["refresh"]
    (out / "training.json").write_text(json.dumps(old))
    train(TrainConfig(method=method, **FAST), toy, tiny_en.processor, clips, out, clips[:4], progress=False)
    kept = (out / "model.safetensors").stat().st_mtime_ns == before
    assert kept == (METHODS[method].refresh == 0)  # PS-KD's refresh is not the default: another method


SWITCHING = {"schedule": "adaptive", "switch_by": "plateau", "patience": 1, "switch": 0.9, "gate": "none"}
OTHER = {
    "previous epoch": dict(method="ps_kd", overrides={"refresh": 0.0}),
    "adaptive, by plateau": dict(method="askd", overrides=SWITCHING),
    "average at the end": dict(method="ce_only", final="ema", momentum=0.5, start_share=0.25, spec_augment=True),
    "annealing": dict(method="annealing_kd"), "decoupled": dict(method="constant_kd", overrides={"divergence": "decoupled_kd"}),
}


@pytest.mark.parametrize("settings", OTHER.values(), ids=OTHER)
def test_an_interrupted_run_of_any_method_ends_the_same(settings, toy, tiny_en, clips, tmp_path, monkeypatch):
    """What paces a curriculum, and every copy of the student, is part of the checkpoint."""
    config = TrainConfig(**FAST | dict(dev_every=2, steps=10, checkpoint_every=3) | settings)
    monkeypatch.setattr("askd.pace.FIRST", 2)
    looks = iter([3.0, 2.0, 2.5, 2.4, 2.3, *(3.0, 2.0, 2.5), *(2.4, 2.3)])  # of the whole run; until it is killed; after that
    if config.curriculum().switch_by == "plateau":
        monkeypatch.setattr(Learner, "cross_entropy", lambda self, student, examples: next(looks))
    whole = train(config, toy, tiny_en.processor, clips, tmp_path / "whole", clips[:4], progress=False)

    def killed(learner, step, batches, learn=Learner.learn):
        if step == 7:
            raise KeyboardInterrupt
        return learn(learner, step, batches)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Learner, "learn", killed)
        train(config, toy, tiny_en.processor, clips, tmp_path / "killed", clips[:4], progress=False)
    again = train(config, toy, tiny_en.processor, clips, tmp_path / "killed", clips[:4], progress=False)
    assert read_metrics(again) == read_metrics(whole)
    assert same_weights(weights_of(again), weights_of(whole))
    if config.curriculum().switch_by == "plateau":
        rows = read_metrics(whole)
        assert [row["phase"] for row in rows] == ["A"] * 6 + ["B"] * 4  # the third look, after step 6, found no new minimum
        pace = Pace()
        for row in rows:
            done = row["step"] / 10
            assert row["w_teacher"] == pytest.approx(config.curriculum().weights(done - 0.1, pace).teacher, abs=1e-5)
            if row["phase"] == "A":
                pace.learnt(row["kl_teacher"])
                if "dev_ce" in row:
                    pace.looked(row["dev_ce"], done, 1)


def test_the_previous_epoch_teaches_once_there_has_been_one(toy, tiny_en, clips, tmp_path):
    config = TrainConfig(method="ps_kd", overrides={"refresh": 0.0}, **FAST)  # 12 clips in batches of 4: three steps an epoch
    rows = read_metrics(train(config, toy, tiny_en.processor, clips, tmp_path / "run", progress=False))
    assert [row["w_self"] > 0 for row in rows] == [False] * 3 + [True] * 5
    assert [row["w_label"] + row["w_self"] for row in rows] == pytest.approx([1] * 8)
    assert rows[4]["w_self"] == pytest.approx(0.8 * 4 / 8)
    own = TrainConfig(method="ps_kd", **FAST)
    rows = read_metrics(train(own, toy, tiny_en.processor, clips, tmp_path / "own", progress=False))
    assert [row["w_self"] > 0 for row in rows] == [False] + [True] * 7  # an eighth of the run counts as one
    with pytest.raises(AskdError, match="an epoch has 3 steps and the run 3; train longer, or set refresh"):
        train(replace(config, steps=3), toy, tiny_en.processor, clips, tmp_path / "short", progress=False)


def test_the_average_and_a_share_of_the_start_are_what_is_saved(toy, tiny_en, clips, tmp_path):
    plain = dict(FAST, method="ce_only", decoder_layers=4)
    runs = {"last": {}, "mixed": {"start_share": 0.25}, "average": {"final": "ema", "momentum": 0.5}}
    kept = {
        run: weights_of(train(TrainConfig(**plain | changes), toy, tiny_en.processor, clips, tmp_path / run, progress=False))
        for run, changes in runs.items()
    }
    start, name = toy.state_dict(), "model.decoder.layers.3.fc1.weight"
    torch.testing.assert_close(kept["mixed"][name], 0.75 * kept["last"][name] + 0.25 * start[name])
    assert torch.equal(kept["mixed"]["model.decoder.embed_tokens.weight"], start["model.decoder.embed_tokens.weight"])
    moved = [(kept[run][name] - start[name]).norm() for run in ("average", "last")]
    assert 0 < moved[0] < moved[1]  # it lags behind


def test_dev_clips_are_transcribed_when_asked(toy, tiny_en, clips, tmp_path):
    config = TrainConfig(method="ce_only", dev_wer_every=4, **FAST)
    rows = read_metrics(train(config, toy, tiny_en.processor, clips, tmp_path / "run", clips[:2], progress=False))
    assert [row["step"] for row in rows if "dev_wer" in row] == [4, 8]
    assert rows[-1]["dev_wer"] == dev_wer(*load_teacher(tmp_path / "run"), clips[:2])


def test_dev_looks_at_the_student_that_is_kept(toy, tiny_en, clips, tmp_path):
    """With some of the start's weights mixed in, and a frozen encoder that must not be put back into training mode."""
    config = TrainConfig(method="ce_only", dev_wer_every=4, start_share=0.5, freeze_encoder=True, **FAST | dict(decoder_layers=4))
    out = train(config, toy, tiny_en.processor, clips, tmp_path / "run", clips[:3], progress=False)
    student, processor = load_teacher(out)
    last, total, tokens = read_metrics(out)[-1], 0.0, 0
    for example in make_examples(clips[:3], student, processor):
        batch = collate([example], [0], pad_frames=TAIL)
        with torch.no_grad():
            total += losses.cross_entropy(label_logits(student, batch), batch.flat_labels).item() * len(batch.flat_labels)
        tokens += len(batch.flat_labels)
    assert last["dev_ce"] == pytest.approx(total / tokens, rel=0.02)  # padded together, the clips hear other silence
    assert last["dev_wer"] == dev_wer(student, processor, clips[:3])


def test_what_yaml_and_people_write_is_taken_or_named():
    assert TrainConfig(overrides={"lambda_end": "1e-2"}).curriculum().lambda_end == 0.01
    for settings, message in (
        (dict(spec_augment="off"), "spec_augment must be true or false, not 'off'"), (dict(pad_s=3.0), "two lengths in seconds"),
        (dict(pad_s=("0.2", "2")), "two lengths in seconds"),
        (dict(micro_batch_size=2.5), "micro_batch_size must be a whole number"),
        (dict(overrides="a=b"), "overrides must be a mapping"), (dict(overrides={1: 2}), "unknown curriculum field 1"),
        (dict(overrides={"patience": 2.5}), "patience must be a whole number"), (dict(method=["askd"]), "unknown method"),
        (dict(overrides={"schedule": ["linear"]}), "unknown schedule"),
        (dict(overrides={"anneal": math.inf}), "anneal must be a number"),
        (dict(spec_augment=True, targets="online"), "set targets cached"), (dict(start_share=1.0), "start_share must lie"),
    ):
        with pytest.raises(AskdError, match=message):
            TrainConfig(**settings)


def test_a_plateau_needs_dev_clips(toy, tiny_en, clips, tmp_path):
    config = TrainConfig(overrides={"switch_by": "plateau"}, **FAST)
    with pytest.raises(AskdError, match="there are none: give some"):
        train(config, toy, tiny_en.processor, clips, tmp_path / "run", progress=False)
    with pytest.raises(AskdError, match="could never come before the switch at step 5: 3 looks after the first, 4 steps apart"):
        train(config, toy, tiny_en.processor, clips, tmp_path / "run", clips[:2], progress=False)
    assert not (tmp_path / "run").exists()


def test_spec_augment_hides_a_little_and_leaves_its_input():
    features = torch.ones(3, 80, 200)
    hidden = masked(features, np.random.default_rng(1))
    assert torch.equal(hidden, masked(features, np.random.default_rng(1))) and features.min() == 1
    assert 0.4 < hidden.mean() < 1
    assert not torch.equal(hidden[0], hidden[1])
    assert masked(torch.ones(1, 80, 3), np.random.default_rng(0)).shape == (1, 80, 3)  # shorter than any stretch


def test_accumulation_does_not_change_the_result(toy, tiny_en, clips, tmp_path):
    config = FAST | dict(steps=4)
    whole = train(TrainConfig(**config), toy, tiny_en.processor, clips, tmp_path / "whole", progress=False)
    parts = train(TrainConfig(micro_batch_size=1, **config), toy, tiny_en.processor, clips, tmp_path / "parts", progress=False)
    # one clip at a time is padded less, so the student hears less silence: losses are close, not equal
    for a, b in zip(read_metrics(whole), read_metrics(parts), strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=2e-2)
        assert (a["w_label"], a["phase"]) == (b["w_label"], b["phase"])


def test_accumulation_is_a_mean_over_tokens(toy, tiny_en, clips, tmp_path):
    """On 30 s all clips are padded alike: one by one they must give the loss, and the next step's, of all at once."""
    config = FAST | dict(steps=3, method="ce_only", context="full")
    runs = [
        read_metrics(train(TrainConfig(micro_batch_size=size, **config), toy, tiny_en.processor, clips, tmp_path / str(size),
                           progress=False)) for size in (4, 1)
    ]
    for whole, parts in zip(*runs, strict=True):
        assert parts["loss"] == pytest.approx(whole["loss"], rel=1e-4)
        assert parts["grad_norm"] == pytest.approx(whole["grad_norm"], rel=1e-3)


def test_the_rate_rises_and_falls_to_zero(toy, tiny_en, clips, tmp_path):
    config = TrainConfig(method="ce_only", warmup=0.25, **FAST)
    rows = read_metrics(train(config, toy, tiny_en.processor, clips, tmp_path / "run", progress=False))
    assert [row["rate"] for row in rows] == pytest.approx([1 / 2, 1, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6], rel=1e-5)


def test_a_loss_that_is_not_finite_stops_with_advice(toy, tiny_en, clips, tmp_path):
    toy.model.encoder.conv1.weight.data[0, 0, 0] = float("nan")
    with pytest.raises(TrainingDiverged, match=r"step 0: lower the learning rates"):
        train(TrainConfig(method="ce_only", **FAST), toy, tiny_en.processor, clips, tmp_path / "run", progress=False)
    assert not (tmp_path / "run" / "finished.json").exists()


def test_other_settings_move_the_old_run_aside(toy, tiny_en, clips, tmp_path, capsys):
    out = tmp_path / "run"
    config = FAST | dict(steps=2)
    train(TrainConfig(method="ce_only", **config), toy, tiny_en.processor, clips, out, progress=False)
    train(TrainConfig(method="ce_only", **config | dict(seed=1)), toy, tiny_en.processor, clips, out, progress=False)
    assert "moved aside" in capsys.readouterr().out
    kept = list(tmp_path.glob("run.old-*"))
    assert len(kept) == 1 and (kept[0] / "model.safetensors").is_file()
    assert json.loads((out / "training.json").read_text())["config"]["seed"] == 1


def test_a_second_writer_is_refused(toy, tiny_en, clips, tmp_path):
    """Not even one with other settings, which would move the folder aside, takes it from a living process."""
    out, settings = tmp_path / "run", FAST | dict(steps=2, method="ce_only")
    train(TrainConfig(**settings), toy, tiny_en.processor, clips, out, progress=False)
    code = f"from askd.files import only_writer\nwith only_writer({str(out)!r}): print(1, flush=True); input()"
    holder = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    holder.stdout.readline()
    with pytest.raises(RunError, match=f"process {holder.pid}"):
        train(TrainConfig(**settings | dict(seed=1)), toy, tiny_en.processor, clips, out, progress=False)
    holder.communicate(b"\n")
    assert (out / "model.safetensors").is_file() and not list(tmp_path.glob("run.old-*"))


def test_a_folder_with_other_files_is_not_written_into(toy, tiny_en, clips, tmp_path):
    save_model(toy, tiny_en.processor, tmp_path)
    before = {p: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(RunError, match=r"other files .*empty folder"):
        train(TrainConfig(**FAST), toy, tiny_en.processor, clips, tmp_path, progress=False)
    assert {p: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_errors_of_workers_are_one_line(toy, tiny_en, clips, tmp_path, monkeypatch):
    """A damaged feature file is noticed in a worker process; the message arrives as it was raised."""
    monkeypatch.setenv("ASKD_CACHE", str(tmp_path / "cache"))
    examples = make_examples(clips, toy, tiny_en.processor)
    store = examples[0].store.path
    store.write_bytes(bytes(store.stat().st_size))
    data = StoredData(examples, 4, 4, 2, 0)
    with pytest.raises(CacheError) as caught:
        list(step_batches(data, [0], 0, 2, "clip", (0.2, 0.2), 0, workers=1))
    assert "Traceback" not in str(caught.value) and "delete it" in str(caught.value)


def test_wrong_settings_are_named():
    with pytest.raises(AskdError, match="steps must be positive"):
        TrainConfig(steps=0)
    with pytest.raises(AskdError, match="unknown curriculum field lamda"):
        TrainConfig(overrides={"lamda": 1})
    with pytest.raises(AskdError, match="precision"):
        TrainConfig(precision="int8")
    assert TrainConfig(overrides={"schedule": "cosine"}).curriculum().schedule == "cosine"
    assert fast_precision(torch.device("cpu")) in ("bf16", "fp32")
