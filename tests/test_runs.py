"""What training runs say about themselves: run.json, README, figure, `askd runs`, trackers. Real runs, and damaged copies."""

import argparse
import importlib.util
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from askd import runinfo
from askd.commands import runs as cli_runs
from askd.errors import AskdError, RunError, UnknownName
from askd.figures import training_curves
from askd.files import only_writer, project_dir, read_json, write_json
from askd.runinfo import command_line, describe_clips, draw, finish_info, git_state, write_info
from askd.runlist import clock, describe, find_runs, writer
from askd.runlogs import read_rows
from askd.runs import provenance
from askd.teacher import load_teacher
from askd.trackers import check_trackers, flat, start_trackers
from askd.trainconfig import TrainConfig
from askd.training import train

STEPS = 5
SMALL = dict(steps=STEPS, batch_size=2, top_k=8, precision="fp32", dev_every=2, encoder_lr=1e-3, decoder_lr=1e-3, workers=0)


def few(clips):
    """Two clips of each of the two domains."""
    return [*clips[:2], *clips[6:8]]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Folder of the one finished run that the tests copy."""
    return tmp_path_factory.mktemp("trained") / "askd"


@pytest.fixture
def run_of(trained, toy, tiny_en, clips, tmp_path):
    """A function (name) that gives a copy of the finished run below tmp_path."""

    def make(name: str = "askd") -> Path:
        if not (trained / "finished.json").is_file():
            train(TrainConfig(**SMALL), toy, tiny_en.processor, few(clips), trained, clips[:2], progress=False)
        return Path(shutil.copytree(trained, tmp_path / name))

    return make


def as_ce_only(folder: Path) -> Path:
    """The same folder as a run of the other method would have it."""
    rows = [{k: v for k, v in row.items() if not k.startswith("kl")} for row in read_rows(folder / "metrics.jsonl")]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row | {"loss": row["ce"]}) + "\n" for row in rows))
    write_json(folder / "training.json", read_json(folder / "training.json") | TrainConfig(method="ce_only", **SMALL).recorded())
    return folder


def command(*arguments: str) -> None:
    parser = argparse.ArgumentParser()
    cli_runs.add_arguments(parser)
    assert cli_runs.run(parser.parse_args(list(map(str, arguments)))) is None


# ---- the folder explains itself ---------------------------------------------------------------------------------------


def test_a_run_says_where_and_on_what_it_ran(run_of, trained, clips):
    info = read_json(run_of() / "run.json")
    (start,) = info["starts"]
    assert start["finished"] >= start["started"] and start["git"]["commit"] == provenance()["commit"]
    assert bool(start["git"]["commit"]) == (project_dir() / ".git").exists()
    machine = start["environment"]
    assert {"python", "platform", "torch", "transformers", "accelerate", "safetensors", "numpy", "cpu", "gpu"} <= set(machine)
    assert machine["threads"] > 0 and machine["precision"] in ("fp32", "bf16")
    data = info["data"]
    assert data["clips"] == 4 and data["hours"] == pytest.approx(sum(c.audio_s for c in few(clips)) / 3600, abs=1e-3)
    assert {name: d["clips"] for name, d in data["domains"].items()} == {"neural_clean": 2, "formant_telephone": 2}
    assert data["digest"] == read_json(trained / "training.json")["clips"]
    assert info["dev"]["clips"] == 2 and info["dev"]["digest"] == describe_clips(clips[:2])["digest"] != data["digest"]


def test_the_readme_names_what_is_there_and_its_commands_work(run_of, trained, capsys):
    folder = run_of()
    runinfo.write_readme(folder)
    text = (folder / "README.md").read_text(encoding="utf-8")
    named = re.findall(r"^\| `(.+?)` \|", text, re.M)
    assert {"training.json", "run.json", "metrics.jsonl", "figures/", "best/", "model.safetensors", "finished.json"} <= set(named)
    assert "checkpoints/" not in named and all((folder / name).exists() for name in named)
    assert "The run is finished" in text and "Go on" not in text and "(figures/training.png)" in text
    for loaded in re.findall(r"load_teacher\('(.+)'\)", text):
        assert load_teacher(loaded).model.config.decoder_layers == 2
    (folder / "finished.json").unlink()
    (folder / "model.safetensors").unlink()
    runinfo.write_readme(folder)
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert "not finished" in text and shlex.join(shlex.split(command_line())) in text
    assert f"--model {folder / 'best'} " in text and f"--model {folder} " not in text


def test_a_resumed_run_shows_all_its_starts_and_computes_the_same(run_of, toy, tiny_en, clips):
    folder = run_of()
    before = (folder / "metrics.jsonl").read_bytes()
    (folder / "finished.json").unlink()
    train(TrainConfig(**SMALL), toy, tiny_en.processor, few(clips), folder, clips[:2], progress=False)
    starts = read_json(folder / "run.json")["starts"]
    assert len(starts) == 2 and starts[0]["started"] <= starts[1]["started"]
    assert (folder / "metrics.jsonl").read_bytes() == before
    assert f"started {starts[0]['started']}" in (folder / "README.md").read_text(encoding="utf-8")


def test_a_damaged_run_json_does_not_stop_the_run(run_of, clips):
    folder = run_of()
    (folder / "run.json").write_text('{"starts": [')
    write_info(folder, read_json(folder / "training.json"), clips)
    assert len(read_json(folder / "run.json")["starts"]) == 1


@pytest.mark.parametrize("argv, processes, expected", [
    (["/x/bin/askd", "train", "--out", "a b"], 1, "askd train --out 'a b'"),
    (["/x/askd/__main__.py", "train"], 1, "askd train"),
    (["/x/askd/__main__.py", "train"], 4, "accelerate launch --num_processes 4 -m askd train"),
    (["mine.py", "3"], 1, "python mine.py 3"),
    (["mine.py", "3"], 2, "accelerate launch --num_processes 2 mine.py 3"),
    (["/x/ipykernel_launcher.py", "-f", "k.json"], 1, None),
    (["-c"], 1, None),
])
def test_command_line(argv, processes, expected, monkeypatch):
    monkeypatch.setattr(sys, "argv", argv)
    monkeypatch.setenv("WORLD_SIZE", str(processes))
    assert command_line() == expected


def test_git_state_tells_every_change_apart(tmp_path, monkeypatch):
    assert set(git_state(tmp_path).values()) == {None}  # no checkout

    def git(*args):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *args], cwd=tmp_path, check=True, capture_output=True)

    git("init", "-b", "work")
    assert set(git_state(tmp_path).values()) == {None}  # no commit
    (tmp_path / "askd").mkdir()
    code = tmp_path / "askd" / "a.py"
    code.write_text("1\n")
    git("add", ".")
    git("commit", "-m", "one")
    clean = git_state(tmp_path)
    assert len(clean["commit"]) == 12 and (clean["branch"], clean["dirty"], clean["diff"]) == ("work", False, None)
    (tmp_path / "notes.txt").write_text("not code")
    assert git_state(tmp_path) == clean
    digests = []
    for text in ("2\n", "3\n", "2\n"):
        code.write_text(text)
        state = git_state(tmp_path)
        assert state["dirty"] and state["commit"] == clean["commit"]
        digests.append(state["diff"])
    assert digests[0] == digests[2] != digests[1]
    code.write_text("1\n")
    (tmp_path / "askd" / "new.py").write_text("4\n")
    new = git_state(tmp_path)
    (tmp_path / "askd" / "new.py").write_text("5\n")
    assert new["dirty"] and new["diff"] != git_state(tmp_path)["diff"]
    monkeypatch.setenv("PATH", str(tmp_path))  # no git
    assert set(git_state(tmp_path).values()) == {None} and provenance()["commit"] is None


# ---- the figure -------------------------------------------------------------------------------------------------------


def test_finishing_draws_the_curves_and_leaves_the_log_alone(run_of):
    folder = run_of()
    before = (folder / "metrics.jsonl").read_bytes()
    shutil.rmtree(folder / "figures")
    finish_info(folder)
    assert (folder / "metrics.jsonl").read_bytes() == before
    assert (folder / "figures" / "training.png").stat().st_size > 20_000
    assert "</svg>" in (folder / "figures" / "training.svg").read_text(encoding="utf-8")
    (folder / "metrics.jsonl").unlink()
    assert draw(folder) is None


def test_the_figure_marks_the_best_dev_score_and_names_the_parts(run_of):
    folder = run_of()
    rows, speed = (read_rows(folder / f"{name}.jsonl") for name in ("metrics", "speed"))
    best = min((row["dev_ce"], row["step"]) for row in rows if "dev_ce" in row)
    axes = {ax.get_title(loc="left"): ax for ax in training_curves(rows, speed).axes}
    assert f"best {best[0]:.4g} at step {best[1]}" in [text.get_text() for text in axes["Dev cross-entropy"].texts]
    names = {text.get_text() for text in axes["Loss and its terms"].texts}
    shown = {"loss": "loss", "ce": "label CE", "kl_teacher": "teacher KL", "kl_self": "self KL"}
    assert names == {name for key, name in shown.items() if any(row.get(key, 0) > 0 for row in rows)} and len(names) > 2
    time = next(ax for title, ax in axes.items() if title.startswith("Where a step's"))
    assert "decoder" in [tick.get_text() for tick in time.get_yticklabels()]
    assert sum(bar.get_width() for bar in time.patches) == pytest.approx(100, abs=0.01)
    for few in (rows[:1], [{k: v for k, v in row.items() if k != "dev_ce"} for row in rows]):
        titles = [ax.get_title(loc="left") for ax in training_curves(few).axes]
        assert "Where a step's time goes: not recorded" in titles


# ---- askd runs --------------------------------------------------------------------------------------------------------


def test_list_shows_every_run_whatever_its_state(run_of, tmp_path, capsys):
    run_of("deep/er/done")
    (run_of("half") / "finished.json").unlink()
    with open(tmp_path / "half" / "metrics.jsonl", "r+b") as file:
        file.truncate(file.seek(0, os.SEEK_END) - 20)  # the last line is cut
    shutil.copytree(tmp_path / "half", tmp_path / "bare")
    for name in ("metrics.jsonl", "speed.jsonl", "run.json", "model.safetensors", "config.json"):
        (tmp_path / "bare" / name).unlink()
    run_of("half.old-123456")
    run_of("cut")
    (tmp_path / "cut" / "training.json").write_text("{")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "training.json").write_text("{}")
    command(tmp_path)
    out, err = capsys.readouterr()
    lines = {Path(line.split()[0]).name: line.split() for line in out.splitlines()[1:]}
    assert set(lines) == {"done", "half", "bare", "half.old-123456"}
    assert lines["done"][1:2] + lines["done"][3:6] == ["askd", "2+2", "5/5", "finished"]
    assert lines["half"][4:6] == ["4/5", "stopped"] and lines["half.old-123456"][5] == "old"
    assert lines["bare"][4:10] == ["0/5", "stopped", "-", "-", "-", "-"]
    assert err.count("\n") == 1 and "cut is no training run: its training.json is damaged" in err
    command(tmp_path, "--json")
    runs = json.loads(capsys.readouterr().out)
    assert [run["started"] for run in runs] == sorted(run["started"] for run in runs)
    done = next(run for run in runs if run["path"].endswith("done"))
    rows, speed = (read_rows(tmp_path / "deep/er/done" / f"{name}.jsonl") for name in ("metrics", "speed"))
    assert done["dev_last"] == rows[-1]["dev_ce"] and done["dev_best"] == min(r["dev_ce"] for r in rows if "dev_ce" in r)
    assert done["utterances_per_s"] == pytest.approx(2 * STEPS / sum(row["seconds"] for row in speed), abs=0.01)
    assert sum(done["shares"].values()) == pytest.approx(1, abs=0.01)


def test_runs_from_before_speed_jsonl_have_their_speed_in_the_metrics(run_of):
    folder = run_of()
    (folder / "speed.jsonl").unlink()
    rows = [row | {"utterances_per_s": 8.0} for row in read_rows(folder / "metrics.jsonl")]
    (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)))
    run = describe(folder)
    assert (run["utterances_per_s"], run["seconds"], run["shares"]) == (8.0, 1.2, {})


def test_running_is_what_a_living_process_holds(run_of, tmp_path):
    folder = run_of()
    (folder / "finished.json").unlink()
    hold = "from askd.files import only_writer\nwith only_writer('.'):\n print(1, flush=True)\n input()"
    process = subprocess.Popen([sys.executable, "-c", hold], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        process.stdout.readline()
        assert describe(folder)["state"] == "running" and describe(folder)["pid"] == process.pid == writer(folder)
        with pytest.raises(RunError, match=str(process.pid)), only_writer(folder):
            pass
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert (folder / ".lock").read_text() == str(process.pid)  # left behind
    assert describe(folder)["state"] == "stopped" and writer(folder) is None
    with only_writer(folder):  # looking did not take the lock
        pass


def test_where_there_are_no_runs_it_says_so(tmp_path):
    with pytest.raises(RunError, match="is no folder"):
        command(tmp_path / "nowhere")
    with pytest.raises(RunError, match="no training run"):
        command(tmp_path)
    with pytest.raises(RunError, match=r"its training\.json is missing"):
        command("compare", tmp_path, tmp_path)


def test_a_run_inside_a_run_is_not_looked_for(run_of):
    folder = run_of()
    shutil.copy(folder / "training.json", folder / "best")
    assert find_runs([folder, folder.parent]) == [folder]


def test_compare_shows_what_differs_and_nothing_else(run_of, tmp_path, capsys):
    a, b = run_of(), as_ce_only(run_of("ce_only"))
    with pytest.raises(AskdError, match="two run folders"):
        command("compare", a)
    command("compare", a, b)
    out = capsys.readouterr().out
    sections = re.split(r"^(?=\S)", out, flags=re.M)
    row = {line.split("  ")[1]: line.split() for part in sections[:-1] for line in part.splitlines() if line.startswith("  ")}
    shares = dict(line.split()[:2] for line in sections[-1].splitlines()[1:])
    assert sections[-1].startswith("share of the step time") and sum(map(float, shares.values())) == pytest.approx(100, abs=0.5)
    assert row["method"] == ["method", "askd", "ce_only"] and row["curriculum.mu"] == ["curriculum.mu", "0.5", "0.0"]
    assert "batch_size" not in row and "NOT" not in out and "overrides" not in out
    last = [read_rows(folder / "metrics.jsonl")[-1] for folder in (a, b)]
    assert row["loss"][1:] == [f"{r['loss']:.4g}" for r in last] and row["kl_self"][2] == "-"
    assert row["last"][1:] == [f"{r['dev_ce']:.4g}" for r in last] and {"utterances/s", "time"} <= set(row)
    command("compare", a, a)
    assert "settings that differ\n  none" in capsys.readouterr().out


def test_compare_warns_where_figures_must_not_be_compared(run_of, capsys):
    a, b = run_of(), run_of("b")
    recorded, info = read_json(b / "training.json"), read_json(b / "run.json")
    write_json(b / "training.json", recorded | {"teacher": "0" * 16, "clips": "1" * 12})
    write_json(b / "run.json", info | {"dev": None})  # not recorded: nothing to warn of
    lines = (b / "metrics.jsonl").read_text().splitlines()
    (b / "metrics.jsonl").write_text("\n".join(lines[:4]))
    command("compare", a, b, "--json")
    said = json.loads(capsys.readouterr().out)["warnings"]
    assert [line.split(" (")[0] for line in said] == [
        "NOT COMPARABLE: other teachers' weights", "NOT COMPARABLE: other training clips", "NOT EQUALLY FAR: steps 5, 4"]
    assert "1" * 12 in said[1]


def test_read_rows_takes_the_whole_lines(tmp_path):
    path = tmp_path / "metrics.jsonl"
    assert read_rows(path) == []
    damaged = b'{"step": 2, "loss": 1}\n{"step": 1, "loss": 3}\nnull\n\0\0\n{"loss": 4}\n'
    path.write_bytes(damaged + b'{"step": 2, "loss": 2}\n{"step": 3, "lo')
    assert read_rows(path) == [{"step": 1, "loss": 3}, {"step": 2, "loss": 2}]


def test_clock():
    assert [clock(s) for s in (None, 3.4, 59.6, 725, 3600, 11240)] == ["-", "3 s", "1:00", "12:05", "1:00:00", "3:07:20"]


# ---- trackers ---------------------------------------------------------------------------------------------------------


def test_tracker_names():
    assert check_trackers("tensorboard") == check_trackers(" TensorBoard,tensorboard, ") == ["tensorboard"]
    assert check_trackers("none") == []
    with pytest.raises(UnknownName, match=r"tensorbord.*did you mean 'tensorboard'"):
        check_trackers("tensorbord")
    for bad, why in (("", "no tracker named"), ("none,tensorboard", "none goes alone")):
        with pytest.raises(AskdError, match=why):
            check_trackers(bad)


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_missing_tracker_is_named_with_the_remedy(name):
    if importlib.util.find_spec(name):
        pytest.skip(f"{name} is installed")
    with pytest.raises(AskdError, match=f"pip install {name}"):
        check_trackers(f"tensorboard,{name}")


def test_settings_reach_the_tracker_flat(tmp_path):
    from accelerate import Accelerator

    settings = TrainConfig(decoder_layers=(0, 3), overrides={"schedule": "cosine"}).recorded()
    names = [name for name in ("tensorboard", "wandb", "mlflow") if importlib.util.find_spec(name)]
    environment = {"WANDB_MODE": "offline", "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db"}
    ids = []
    with pytest.MonkeyPatch.context() as patch:
        for key, value in environment.items():
            patch.setenv(key, value)
        for steps in ((1, 2), (2, 3)):  # resumed: goes on in the same runs
            accelerator = Accelerator(log_with=check_trackers(names), project_dir=str(tmp_path / "tensorboard"))
            start_trackers(accelerator, tmp_path, settings)
            for step in steps:
                accelerator.log({"loss": 1 / step}, step=step)
            accelerator.end_training()
            ids.append(runinfo.read_info(tmp_path / "trackers.json"))
    assert ids[0] == ids[1] and set(ids[0]) == set(names) - {"tensorboard"}
    stored = [yaml.safe_load(path.read_text()) for path in (tmp_path / "tensorboard").rglob("hparams.yml")]
    assert stored[0] == flat(settings)
    assert stored[0]["config.decoder_layers"] == "[0, 3]" and stored[0]["config.micro_batch_size"] == "none"
    assert stored[0]["curriculum.schedule"] == "cosine" and stored[0]["config.batch_size"] == 16
    if "mlflow" in names:
        import mlflow

        mlflow.set_tracking_uri(environment["MLFLOW_TRACKING_URI"])
        run = mlflow.get_run(ids[0]["mlflow"])
        assert run.data.params["config.batch_size"] == "16" and run.data.metrics["loss"] == pytest.approx(1 / 3)
    if "wandb" in names:
        assert len(list((tmp_path / "wandb").glob(f"offline-run-*-{ids[0]['wandb']}"))) == 2
