"""Two processes (gloo, no GPU) learn what one learns: `accelerate launch`, DDP, a sharded teacher, streamed Parquet."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from askd.errors import AskdError
from askd.estimate import estimate, parameters, shape
from askd.files import read_json
from askd.hub import clips_to_dataset
from askd.runlogs import read_metrics
from askd.runs import Run
from askd.trainconfig import TrainConfig
from askd.traindata import lanes_of

# --multi_gpu is accelerate's name for its launcher of several processes on one machine, GPUs or none
LAUNCH = ["accelerate.commands.launch", "--multi_gpu", "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no",
          "--main_process_port", "0"]
SETTINGS = ["--steps", "6", "--batch-size", "4", "--precision", "fp32", "--encoder-lr", "1e-3", "--decoder-lr", "1e-3",
            "--set", "micro_batch_size=2", "--set", "dev_every=3", "--set", "momentum=0.9", "--track", "none"]


@pytest.fixture(scope="module")
def place(tiny_en, tmp_path_factory):
    """A toy teacher."""
    from tests.kill_and_resume import make_toy

    folder = tmp_path_factory.mktemp("distributed")
    make_toy(folder)
    return folder


def askd(processes: int, *arguments: str) -> str:
    """The command with so many processes; what it prints."""
    launch = [*LAUNCH, "--num_processes", str(processes), "-m", "askd"] if processes > 1 else ["askd"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    result = subprocess.run([sys.executable, "-m", *launch, *arguments], capture_output=True, text=True, env=environment,
                            timeout=600)
    assert result.returncode == 0, result.stderr[:6000]
    return result.stdout


def run(place: Path, name: str, processes: int, *arguments: str) -> Path:
    """``askd train`` with so many processes; the run folder."""
    askd(processes, "train", "--teacher", str(place / "toy"), "--out", str(place / name), *SETTINGS, *arguments)
    return place / name


def same(a: Path, b: Path) -> None:
    """Loss curve and weights are equal up to rounding."""
    rows = [read_metrics(folder) for folder in (a, b)]
    assert len(rows[0]) == len(rows[1]) == 6 and any("dev_ce" in row for row in rows[0])
    for x, y in zip(*rows, strict=True):
        assert x.keys() == y.keys()
        for name, value in x.items():
            assert value == (pytest.approx(y[name], rel=1e-5, abs=1e-5) if isinstance(value, float) else y[name]), name
    weights = [load_file(folder / "model.safetensors") for folder in (a, b)]
    for name, value in weights[0].items():
        torch.testing.assert_close(value, weights[1][name], rtol=0, atol=2e-6)


@pytest.fixture(scope="module")
def alone(place):
    """The run of one process, its micro-batches one after the other."""
    return run(place, "alone", 1, "--data", "neural_clean", "formant_telephone", "--train-clips", "6", "--dev-clips", "3")


def test_two_processes_learn_what_one_learns_with_accumulation(place, alone):
    data = ["--data", "neural_clean", "formant_telephone", "--train-clips", "6", "--dev-clips", "3"]
    same(alone, run(place, "two", 2, *data))


def test_a_teacher_sharded_over_two_processes_gives_the_answers_of_a_whole_one(place):
    data = ["--data", "neural_clean", "--train-clips", "6", "--dev-clips", "3", "--set", "targets=online"]
    same(run(place, "whole-teacher", 1, *data), run(place, "sharded-teacher", 2, *data, "--set", "teacher_memory=fsdp"))


@pytest.fixture(scope="module")
def corpus(clips, tmp_path_factory):
    """A data set as the Hub keeps it: Parquet shards of three splits."""
    folder = tmp_path_factory.mktemp("corpus")
    (folder / "data").mkdir()
    for i in range(3):
        clips_to_dataset(clips[i::3]).to_parquet(folder / "data" / f"train-{i:05d}-of-00003.parquet")
    clips_to_dataset(clips[:3]).to_parquet(folder / "data" / "validation-00000-of-00001.parquet")
    clips_to_dataset(clips[3:5]).to_parquet(folder / "data" / "test-00000-of-00001.parquet")
    return f"hub:{folder}"


def test_streamed_parquet_is_dealt_out_to_any_number_of_processes(place, corpus):
    data = ["--data", corpus, "--stream", "--set", "targets=online", "--dev-clips", "3"]
    same(run(place, "streamed", 1, *data), run(place, "streamed-two", 2, *data))


def test_rehearsal_of_the_paper_profile(place, corpus, tmp_path):
    """Its own settings (frozen encoder, 30 s, teacher online, streamed), on a toy: train on two processes, measure, list."""
    sizes = ["--steps", "4", "--batch-size", "4", "--set", "micro_batch_size=2", "--set", "dev_every=2", "--dev-clips", "1"]
    source = ["--profile", "paper", "--teacher", str(place / "toy"), "--data", corpus, "--out", str(tmp_path / "paper")]
    for method in ("constant_kd", "askd"):
        assert "student in" in askd(2, "train", *source, *sizes, "--method", method)
    student = tmp_path / "paper" / "students" / "askd"
    settings, rows = read_json(student / "training.json")["config"], read_metrics(student)
    assert settings["freeze_encoder"] and settings["context"] == "full" and settings["targets"] == "online"
    assert len(rows) == 4 and "kl_teacher" in rows[0] and "kl_self" in rows[-1] and "dev_ce" in rows[-1]
    assert read_json(student / "finished.json")["processes"] == 2
    assert Run(str(tmp_path / "paper")).trained() == ["constant_kd", "askd"]  # where the notebooks look for them
    assert "WER" in askd(1, "evaluate", "--model", str(student), "--data", corpus, "--role", "test", "--out", str(tmp_path / "s"))
    assert "NOT" not in askd(1, "runs", "compare", str(student), str(student.with_name("constant_kd")))


def test_estimates_follow_from_shapes():
    said = askd(1, "train", "--profile", "paper", "--estimate", "--gpus", "8")
    assert "20,480,000 utterances" in said and "8 GPUs" in said and "assumed" in said
    one, eight = (estimate("openai/whisper-large-v2", TrainConfig(micro_batch_size=2), gpus=n) for n in (1, 8))
    assert one.hours == pytest.approx(8 * eight.hours) and one.usd == pytest.approx(eight.usd)
    encoder, decoder, vocabulary = parameters(shape("openai/whisper-large-v2"))
    assert encoder + decoder + vocabulary == pytest.approx(1543e6, rel=0.01)  # the model card's 1,550 million
    with pytest.raises(AskdError, match="dealt out to 3 GPUs"):
        estimate("base", TrainConfig(micro_batch_size=4), gpus=3)


def test_lanes_are_dealt_out_evenly_or_not_at_all():
    assert [list(lanes_of(4, r, 2)) for r in range(2)] == [[0, 2], [1, 3]]
    with pytest.raises(AskdError, match=r"3 micro-batches .* 2 processes .* multiple of 2"):
        lanes_of(3, 0, 2)
