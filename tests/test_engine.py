"""The engine's levers change speed and memory, not what is learnt: targets, encoder, checkpointing, compile, big teachers."""

import math
import os
import subprocess
import sys

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from askd.batches import collate, make_examples
from askd.bigteacher import place_teacher
from askd.checkpoints import checkpoints, load_checkpoint, save_checkpoint
from askd.errors import AskdError, UnknownName
from askd.features import encode
from askd.files import cache_dir, project_dir, read_json
from askd.flops import matmul_rate, training_flops
from askd.stepclock import PARTS, shares
from askd.student import make_student
from askd.targets import label_logits, token_targets, weights_digest
from askd.teacher import load_teacher
from askd.training import TrainConfig, read_metrics, read_speed, train

FAST = dict(method="askd", steps=5, batch_size=4, top_k=8, precision="fp32", dev_every=2, encoder_lr=1e-3, decoder_lr=1e-3,
            momentum=0.9, track="none")


@pytest.fixture
def trained(toy, tiny_en, clips, tmp_path):
    """A function that trains with changed settings and returns (metrics, folder)."""
    def run(name, **changes):
        config = TrainConfig(**FAST | changes)
        out = train(config, toy, tiny_en.processor, clips, tmp_path / name, clips[:4], progress=False)
        return read_metrics(out), out

    return run


def close(a, b, rel=1e-5):
    for x, y in zip(a, b, strict=True):
        for name in ("loss", "ce", "grad_norm"):
            assert x[name] == pytest.approx(y[name], rel=rel), (x["step"], name)


def test_a_teacher_asked_online_gives_the_cached_answers(trained):
    close(trained("cached")[0], trained("online", targets="online")[0], rel=1e-3)  # cached ones are kept in half precision


def test_activations_that_are_computed_twice_are_the_same(trained):
    close(trained("kept")[0], trained("twice", gradient_checkpointing=True)[0])


def test_workers_that_read_ahead_change_nothing(trained):
    rows = [trained(f"workers-{n}", workers=n, micro_batch_size=2)[0] for n in (0, 1, 2)]
    assert rows[0] == rows[1] == rows[2]


@pytest.mark.slow
def test_compiled_layers_learn_the_same(trained):
    close(trained("eager", steps=3)[0], trained("compiled", steps=3, compile=True)[0], rel=1e-3)


def test_a_frozen_encoder_stays_and_serves_everyone(trained, toy, tiny_en, clips):
    settings = dict(freeze_encoder=True, context="full")
    (online, out), (cached, _) = trained("online", targets="online", **settings), trained("cached", **settings)
    close(online, cached, rel=1e-3)  # online the teacher answers from the student's encoder pass
    kept = load_teacher(out).model
    assert all(torch.equal(a, b) for a, b in zip(kept.model.encoder.parameters(), toy.model.encoder.parameters(), strict=True))
    speed = read_speed(out)
    assert all(row["encoder"] > 0 for row in speed)
    examples = make_examples(clips[:2], toy, tiny_en.processor)
    batch = collate(examples, [0, 1], frames=3000)
    alone, shared = (token_targets(toy, batch, 8, 2.0, encoded=e) for e in (None, encode(toy, batch.features)))
    assert torch.equal(alone.ids, shared.ids) and torch.equal(alone.log_kept, shared.log_kept)


def test_the_best_student_on_dev_is_kept(trained):
    rows, out = trained("run", steps=7, encoder_lr=0.3, decoder_lr=0.3)  # rates that make it worse after a while
    scored = {row["step"]: row["dev_ce"] for row in rows if "dev_ce" in row}
    best = read_json(out / "best" / "best.json")
    assert best["step"] == min(scored, key=scored.get) and math.isclose(best["dev_ce"], min(scored.values()), abs_tol=1e-6)
    student, end = load_teacher(out / "best").model, load_teacher(out).model
    same = all(torch.equal(a, b) for a, b in zip(student.parameters(), end.parameters(), strict=True))
    assert same == (best["step"] == 7)


def test_settings_that_change_nothing_do_not_start_a_run_again(trained):
    _, out = trained("run")
    before = (out / "model.safetensors").stat().st_mtime_ns
    trained("run", workers=0, checkpoint_every=2)
    assert (out / "model.safetensors").stat().st_mtime_ns == before


def test_two_threads_add_up_the_same_gradient_every_time(tiny_en, clips):
    """Resume is bit for bit only if a step is: positions used by every utterance must not be summed in a random order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    student = make_student(tiny_en.model, 2)
    batch = collate(make_examples(list(clips) * 2, *tiny_en), range(16))  # large enough for torch to share the work out

    def gradients():
        student.zero_grad()
        label_logits(student, batch).float().logsumexp(-1).mean().backward()
        return {name: p.grad.clone() for name, p in student.named_parameters() if p.grad is not None}

    first = gradients()
    for _ in range(3):
        assert all(torch.equal(value, first[name]) for name, value in gradients().items())
    torch.set_num_threads(threads)


# ---- big teachers -----------------------------------------------------------------------------------------------------


def test_an_offloaded_teacher_answers_as_a_whole_one(toy, tiny_en, clips):
    batch = collate(make_examples(clips[:3], toy, tiny_en.processor), range(3))
    placed = place_teacher(toy, "offload", torch.device("cpu"))
    assert placed.model.encoder.layers[0].fc1.weight.device.type == "meta"  # not in memory
    assert weights_digest(placed) == weights_digest(toy)  # and shares its cached targets
    for a, b in zip(*(vars(token_targets(t, batch, 8, 2.0)).values() for t in (toy, placed)), strict=True):
        torch.testing.assert_close(a, b)


EIGHT_BITS = """
import torch
from askd.batches import collate, make_examples
from askd.bigteacher import place_teacher
from askd.domains import load_clips
from askd.targets import token_targets, weights_digest
from askd.teacher import load_teacher
torch.set_num_threads(1)
model, processor = load_teacher("tiny.en")
batch = collate(make_examples(load_clips("neural_clean", "train", 2), model, processor), range(2))
placed = place_teacher(model, "8bit", torch.device("cpu"))
assert weights_digest(placed) == f"{weights_digest(model)}-8bit"
whole, small = (token_targets(t, batch, 8, 2.0) for t in (model, placed))
assert (whole.argmax_right == small.argmax_right).float().mean() > 0.9
assert 0 < (whole.label_log_prob.exp() - small.label_log_prob.exp()).abs().mean() < 0.05
assert placed.model.encoder.layers[0].fc1.weight.qdata.dtype == torch.int8
assert model.model.encoder.layers[0].fc1.weight.dtype == torch.float32  # the caller's is untouched
"""


def test_a_teacher_in_8_bits_is_smaller_and_nearly_the_same():
    """In a process of its own, with the torchao that tests/prefetch.py laid aside."""
    aside = cache_dir() / "torchao-0.18.0"
    environment = os.environ | {"PYTHONPATH": f"{aside}:{project_dir()}"}
    result = subprocess.run([sys.executable, "-c", EIGHT_BITS], capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr[-3000:]


def test_without_torchao_8_bits_say_what_to_install(toy):
    with pytest.raises(AskdError, match=r"askd\[scale\]"):
        place_teacher(toy, "8bit", torch.device("cpu"))


def test_wrong_combinations_are_named(toy):
    assert TrainConfig(encoder_lr="1e-4", steps=5.0).encoder_lr == 1e-4  # as YAML gives it
    for name, value in {"clip_norm": 0, "momentum": 1, "seed": -1, "steps": 2.5, "top_k": "many", "pad_s": (2, 1)}.items():
        with pytest.raises(AskdError, match=name):
            TrainConfig(**{name: value})
    with pytest.raises(AskdError, match="fsdp needs targets online"):
        TrainConfig(teacher_memory="fsdp")
    with pytest.raises(AskdError, match=r"micro_batch_size must lie in \[1, 16\]"):
        TrainConfig(micro_batch_size=17)
    with pytest.raises(AskdError, match="context must be one of clip, full"):
        TrainConfig(context="30s")
    with pytest.raises(AskdError, match="needs several processes"):
        place_teacher(toy, "fsdp", torch.device("cpu"))
    with pytest.raises(UnknownName, match="teacher memory"):
        place_teacher(toy, "4bit", torch.device("cpu"))


# ---- checkpoints ------------------------------------------------------------------------------------------------------


def test_checkpoints_are_rotated_and_leftovers_swept(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / ".writing-xyz").write_bytes(b"of a killed process")
    for step in (1, 2, 3):
        save_checkpoint(tmp_path, step, {"step": step, "tensor": torch.full((3,), step)})
    assert [path.name[:13] for path in checkpoints(tmp_path)] == ["step-00000003", "step-00000002"]
    assert not list((tmp_path / "checkpoints").glob(".writing*"))
    assert load_checkpoint(tmp_path)["tensor"].tolist() == [3, 3, 3]
    assert load_checkpoint(tmp_path / "elsewhere") is None


# ---- the clock --------------------------------------------------------------------------------------------------------


def test_parts_of_a_step_add_up(trained):
    _, out = trained("run")
    rows = read_speed(out)
    for row in rows:
        assert 0 <= row["seconds"] - sum(row[part] for part in PARTS) < 0.05 * row["seconds"] + 0.01
    assert sum(shares(rows).values()) == pytest.approx(1)
    assert read_json(out / "finished.json")["shares"]["decoder"] > 0


@pytest.mark.parametrize("frozen", [False, True])
def test_operations_are_those_that_torch_counts(tiny_en, clips, frozen):
    student = make_student(tiny_en.model, 2)
    for module in student.modules():
        if hasattr(module, "config"):
            module.config._attn_implementation = "eager"  # torch's counter knows no fused attention on a CPU
    student.model.encoder.embed_positions.requires_grad_(False)
    student.model.decoder.embed_tokens.requires_grad_(False)
    student.model.encoder.requires_grad_(not frozen)
    batch = collate(make_examples(clips[:4], *tiny_en), range(4))
    with FlopCounterMode(display=False) as counter:
        with torch.set_grad_enabled(not frozen):
            encoded = encode(student, batch.features)
        label_logits(student, batch, encoded).sum().backward()
    expected = training_flops(
        student.config, 4, batch.features.shape[-1], batch.labels.shape[1], len(batch.flat_labels), frozen_encoder=frozen
    )
    assert counter.get_total_flops() == pytest.approx(expected, rel=0.05)


def test_matmul_rate_is_a_rate():
    assert matmul_rate(torch.float32, n=256, seconds=0.05) > 1e8
