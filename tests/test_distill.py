"""From a folder of recordings to a student, its report and its exports: a toy Whisper on real clips."""

import argparse
import csv
import json
import shutil
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from askd import report
from askd.audio import write_flac
from askd.clips import Clip
from askd.commands import distill as cli_distill
from askd.distill import clips_of, in_words, located
from askd.domains import get_domain
from askd.errors import AskdError, RunError, UnknownName
from askd.files import read_json, write_json
from askd.finished import finished
from askd.hub import clips_to_dataset
from askd.outcome import choose
from askd.owndata import amount, contents, demo_folder, own_clips, set_aside
from askd.plan import Asked, Plan, Timings, advice, fit, micro_batch, mix_size, settings, why_steps
from askd.rows import read_rows
from askd.teacher import load_teacher
from askd.timings import typical
from askd.training import read_metrics, save_model

SHAPE = dict(d_model=384, encoder_layers=4, decoder_layers=4, vocab_size=51864, parameters=38e6)
TIMINGS = Timings(target_s=0.2, step_s=1.0, test_s=0.5, one_s=0.5, spent_s=20)


def some(count, audio_s=4.0):
    return [Clip(f"c{i}", "mine", f"s{i}", "a b", audio_s, "", str(i)) for i in range(count)]


def write_folder(folder, clips):
    folder.mkdir(parents=True)
    with open(folder / "metadata.csv", "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file_name", "text"])
        for i, clip in enumerate(clips):
            write_flac(folder / f"r{i:02}.flac", clip.samples())
            table.writerow([f"r{i:02}.flac", clip.text])
    return folder


@pytest.fixture
def recordings(clips, tmp_path):
    return write_folder(tmp_path / "recordings", clips)


@pytest.fixture
def teacher(toy, tiny_en, tmp_path):
    save_model(toy, tiny_en.processor, tmp_path / "teacher")
    return tmp_path / "teacher"


# ---- the plan ---------------------------------------------------------------------------------------------------------


@given(
    hours=st.floats(0.2, 20), clips=st.integers(8, 20_000), test=st.integers(1, 400), step_s=st.floats(0.05, 20),
    target_s=st.floats(0.01, 4), epochs=st.one_of(st.none(), st.floats(0.5, 20)),
)
def test_a_plan_never_exceeds_its_hours_nor_its_epochs(hours, clips, test, step_s, target_s, epochs):
    asked = Asked("t", "d", hours=hours, epochs=epochs)
    train, _ = settings(asked, some(min(clips, 500)), 1.0, SHAPE, "bf16", 64e9)
    timings = replace(TIMINGS, step_s=step_s, target_s=target_s)
    try:
        config, use, minutes = fit(asked, train, timings, clips, clips * 4 / 3600, 20, test)
    except AskdError as error:
        assert "--hours" in str(error)
        return
    assert sum(minutes.values()) <= 60 * hours + 0.1
    assert 1 <= config["steps"] <= max(1, (epochs or 10) * clips / train["batch_size"])
    assert train["batch_size"] <= use["train"] <= clips and use["test"] <= test
    assert config["dev_every"] >= 1 and 1 <= config["checkpoint_every"] <= config["steps"]


def test_the_hours_that_a_refusal_names_are_enough():
    asked, (train, _) = Asked("t", "d", hours=0.05), settings(Asked("t", "d"), some(400), 1.0, SHAPE, "bf16", 64e9)
    slow = replace(TIMINGS, step_s=40.0)
    with pytest.raises(AskdError, match="too few on this machine") as refusal:
        fit(asked, train, slow, 400, 0.5, 20, 40)
    hours = float(str(refusal.value).split("--hours ")[1].split()[0])
    assert fit(replace(asked, hours=hours), train, slow, 400, 0.5, 20, 40)[0]["steps"] >= 20
    with pytest.raises(AskdError):
        fit(replace(asked, hours=0.8 * hours), train, slow, 400, 0.5, 20, 40)


def test_more_hours_give_more_steps_until_the_epochs_end_it():
    train, _ = settings(Asked("t", "d"), some(2000), 2.0, SHAPE, "bf16", 64e9)
    steps = [fit(Asked("t", "d", hours=h), train, TIMINGS, 2000, 2.2, 20, 40)[0]["steps"] for h in (0.1, 0.15, 0.2, 8, 80)]
    assert steps[0] < steps[1] < steps[2] and steps[-2] == steps[-1] == 4 * 2000 // 16
    used = fit(Asked("t", "d", hours=0.1), train, TIMINGS, 2000, 2.2, 20, 40)[1]["train"]
    assert used == 16 * steps[0] < 2000  # not even one pass: the rest needs no answers of the teacher
    read = replace(TIMINGS, read_s=60.0)
    assert fit(Asked("t", "d", hours=0.15), train, read, 2000, 2.2, 20, 40)[0]["steps"] < steps[1]  # reading takes its time too
    answers = {m: fit(Asked("t", "d", method=m), train, TIMINGS, 2000, 2.2, 20, 40)[2]["teacher's answers"]
               for m in ("ce_only", "askd")}
    assert answers["ce_only"] == 0 < answers["askd"]


def test_settings_follow_the_amount_of_speech_and_the_teacher():
    def chosen(clips, own_h, shape=SHAPE, **more):
        return settings(Asked("t", "d", **more), some(clips), own_h, SHAPE | shape, "fp32", 64e9)[0]

    assert [chosen(n, 0.1)["batch_size"] for n in (8, 12, 40, 500)] == [2, 2, 8, 16]
    large = {"decoder_layers": 32, "encoder_layers": 32, "d_model": 1280}
    assert [chosen(100, h, large)["decoder_layers"] for h in (0.5, 5, 50)] == [32, 16, 8]
    assert chosen(100, 50)["decoder_layers"] == 2 and chosen(100, 50, decoder_layers=3)["decoder_layers"] == 3
    assert chosen(100, 0.5, large)["encoder_lr"] < chosen(100, 0.5)["encoder_lr"] < chosen(100, 50)["encoder_lr"]
    assert settings(Asked("t", "d"), some(100), 50, SHAPE, "fp32", 64e9, all_layers=True)[0]["decoder_layers"] == 4
    with pytest.raises(AskdError, match=r"\[1, 4\]"):
        chosen(100, 1, decoder_layers=5)


def test_micro_batches_shrink_with_the_memory():
    sizes = [micro_batch(16, some(20, 20.0), SHAPE, gigabytes * 1e9) for gigabytes in (64, 6, 3, 1)]
    assert sizes[0] is None and 16 > sizes[1] > sizes[2] and sizes[-1] == 1
    assert mix_size(Asked("t", "d"), 50, 0.1)[0] == 50 and mix_size(Asked("t", "d"), 50, 3.0)[0] == 0
    assert mix_size(Asked("t", "d", mix=7), 50, 3.0)[0] == 7
    assert len(advice(20, 5)) == 2 and not advice(1000, 100)
    assert "12.0 GB, 8.0 GB are free" in advice(1000, 100, 12e9, 8e9)[0]


def test_reasons_name_what_held():
    assert "--hours" in why_steps(Asked("t", "d"), 10, 16, 1000, 0.5)
    assert why_steps(Asked("t", "d"), 625, 16, 1000, 0.5).startswith("10.0 passes over the clips, at most 10 with 0.5 h")
    assert why_steps(Asked("t", "d", epochs=3), 187, 16, 1000, 0.5).endswith("3.0 passes over the clips, as asked")
    small = SHAPE | {"decoder_layers": 2}
    assert settings(Asked("t", "d"), some(100), 50, small, "fp32", 64e9)[1]["decoder_layers"] == "all: 2 are not cut further"


def test_steps_are_timed_on_clips_of_the_mean_length():
    clips = [clip for seconds in range(1, 31) for clip in some(10, float(seconds))]
    chosen = [clip.audio_s for clip in typical(clips, 8)]
    assert len(chosen) == 8 and max(chosen) - min(chosen) <= 1 and abs(max(chosen) - 15.5) <= 1
    assert len(typical(clips[:3], 3)) == 3


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"hours": 0}, "hours must be positive"), ({"hours": float("nan")}, "hours"), ({"epochs": float("inf")}, "epochs"),
     ({"mix": -1}, "mix"), ({"epochs": -1}, "epochs"), ({"data": ()}, "--data")],
)
def test_arguments_are_checked(wrong, message):
    with pytest.raises(AskdError, match=message):
        Asked(**{"teacher": "t", "data": "d"} | wrong)
    with pytest.raises(UnknownName, match="did you mean 'askd'"):
        Asked("t", "d", method="akd")


# ---- the recordings ---------------------------------------------------------------------------------------------------


def test_a_folder_without_a_split_is_split_and_nothing_is_lost(recordings):
    parts = own_clips([str(recordings)])
    ids = [clip.id for part in parts.values() for clip in part]
    assert len(ids) == len(set(ids)) == 12 and min(map(len, parts.values())) >= 2
    assert contents(parts) == contents(own_clips([str(recordings)]))
    assert amount(parts["train"])["clips"] == len(parts["train"])
    few = own_clips([str(recordings)], train_clips=3)
    assert len(few["train"]) == 3 and few["test"] == parts["test"] and few["train"] != parts["train"][:3]


def write_table(path, clips, ids, speakers=None):
    """A table as `askd pseudolabel` writes it, on copies of one sound that differ in their first sample."""
    path.parent.mkdir(parents=True)
    sound, rows = clips[0].samples()[:4000].copy(), []
    for number, name in enumerate(ids):
        sound[0] = number / 32768
        write_flac(path.parent / f"{number}.flac", sound)
        rows.append({"id": name, "path": f"{number}.flac", "text": f"take {number}", "speaker": name.partition("#")[0]})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_pieces_of_a_recording_stay_in_one_part(clips, recordings, tmp_path, capsys):
    ids = [f"podcasts/ep{n}.mp3#{15 * piece:.2f}" for n in range(3) for piece in range(40)]
    table = write_table(tmp_path / "podcast_labels" / "labels.jsonl", clips, ids)
    assert get_domain(table).name == "podcast_labels"
    parts = own_clips([str(table)])
    heard = {role: {clip.id.partition("#")[0] for clip in part} for role, part in parts.items()}
    assert heard["train"] and heard["test"] and sum(map(len, heard.values())) == 3  # nothing lies in two parts
    (table.parent / "transcripts.jsonl").touch()  # by a teacher: nothing of it may score that teacher
    with pytest.raises(AskdError, match=r"cannot score it.*--data .*my_recordings"):
        own_clips([str(table)])
    ids = [f"calls/{n}.mp3#{15 * piece:.2f}" for n in range(30) for piece in range(4)]
    table = write_table(tmp_path / "more" / "podcast_labels" / "labels.jsonl", clips, ids)
    (table.parent / "transcripts.jsonl").touch()
    parts = own_clips([str(table), str(recordings)])
    assert {clip.domain for clip in parts["test"]} == {"recordings"}
    assert sum(clip.domain == "podcast_labels" for part in parts.values() for clip in part) == 120


def test_whole_speakers_are_set_aside():
    clips = [replace(clip, speaker=f"s{i % 10}") for i, clip in enumerate(some(20))]
    parts = set_aside({"train": clips, "dev": [], "test": []})
    speakers = [{clip.speaker for clip in part} for part in parts.values()]
    assert [len(part) for part in parts.values()] == [16, 2, 2] and sum(map(len, speakers)) == 10
    two = [replace(clip, speaker="s", id=f"{i % 2}#{i}.00") for i, clip in enumerate(some(20))]
    assert {role: len(part) for role, part in set_aside({"train": two, "dev": [], "test": []}).items()} == {
        "train": 10, "dev": 0, "test": 10}


def test_the_same_sound_is_in_one_part(clips, tmp_path, capsys):
    write_folder(tmp_path / "own" / "train", clips[:9])
    write_folder(tmp_path / "own" / "test", clips[6:])
    parts = own_clips([str(tmp_path / "own")])
    sounds = [{clip.sha256 for clip in part} for part in parts.values()]
    assert sum(map(len, sounds)) == len(set.union(*sounds)) == 12 and len(parts["test"]) == 6
    assert "recordings are left out: the same file is in" in capsys.readouterr().out
    with pytest.raises(AskdError, match="though it is called test"):
        own_clips([str(tmp_path / "own" / "train"), str(tmp_path / "own" / "test")])


def test_a_missing_part_is_set_aside_from_training_and_an_own_one_is_kept(clips, tmp_path):
    write_folder(tmp_path / "own" / "train", clips[:9])
    write_folder(tmp_path / "own" / "test", clips[9:])
    parts = own_clips([str(tmp_path / "own")])
    assert len(parts["test"]) == 3 and len(parts["dev"]) == 2 and len(parts["train"]) == 7
    assert {clip.text for clip in parts["test"]} == {clip.text for clip in clips[9:]}


@pytest.mark.parametrize("options", ["", "?split=train"])
def test_a_data_set_of_one_split_is_parted(clips, tmp_path, options):
    clips_to_dataset(clips).to_parquet(tmp_path / "copy" / "data" / "train-00000-of-00001.parquet")
    parts = own_clips([f"hub:{tmp_path}/copy{options}"])
    ids = [clip.id for part in parts.values() for clip in part]
    assert len(ids) == len(set(ids)) == 12 and min(map(len, parts.values())) >= 2
    assert {clip.domain for clip in parts["test"]} == {"hub-copy" + options.replace("?", "-").replace("=", "-")}


def test_too_little_speech_is_said_at_once(clips, tmp_path):
    with pytest.raises(AskdError, match="5 recordings are too few"):
        own_clips([str(write_folder(tmp_path / "few", clips[:5]))])
    with pytest.raises(AskdError, match="no training recordings"):
        own_clips(["scottish_street"])
    with pytest.raises(AskdError, match="same name"):
        own_clips([str(tmp_path / "few"), str(tmp_path / "few")])
    with pytest.raises(UnknownName, match="nowhere"):
        own_clips(["nowhere"])


def test_a_broken_recording_is_named_before_anything_is_trained(recordings):
    whole = (recordings / "r03.flac").read_bytes()
    (recordings / "r03.flac").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(AskdError, match=r"r03\.flac"):
        own_clips([str(recordings)])
    assert sum(map(len, own_clips([str(recordings)], skip_bad=True).values())) == 11


def test_the_demo_folder_is_one_as_users_have_it(tmp_path):
    folder, about = demo_folder(tmp_path / "demo", 10)
    again, _ = demo_folder(folder, 10)
    assert again == folder and len(list(folder.glob("*.flac"))) == 10 and about
    assert sum(map(len, own_clips([str(folder)]).values())) == 10


# ---- the run ----------------------------------------------------------------------------------------------------------


def command(*arguments):
    parser = argparse.ArgumentParser()
    cli_distill.add_arguments(parser)
    return cli_distill.run(parser.parse_args([str(argument) for argument in arguments]))


@pytest.mark.slow
def test_from_recordings_to_exports_and_on_from_the_plan(recordings, teacher, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = ["--teacher", teacher, "--data", recordings, "--out", out, "--mix", 0, "--no-report"]
    assert command(*arguments, "--plan") == 0
    printed = capsys.readouterr().out
    assert "batch_size" in printed and "few: the teacher may be hard to beat" in printed and not (out / "student").exists()

    plan = read_json(out / "plan.json")
    plan["train"]["steps"] = 3
    write_json(out / "plan.json", plan)
    assert command(*arguments) == 0  # by the plan that lies there, not by a new one
    printed = capsys.readouterr().out
    assert [row["step"] for row in read_metrics(out / "student")] == [1, 2, 3]
    assert "WER on" in printed and str(out / "export" / "ct2") in printed
    summary = read_json(out / "results" / "summary.json")
    wer = read_json(out / "results" / "wer.json")
    assert summary["wer"]["student"] == wer["models"]["student"]["macro"]["all"]
    assert len(read_rows(out / "results" / "hypotheses" / "student.jsonl")) == plan["use"]["test"]
    assert "95 % CI" in in_words(summary)
    card = (out / "export" / "hf" / "README.md").read_text(encoding="utf-8")
    assert "## Licence" in card and "| recordings |" in card and "3 steps of 2 clips" in card
    kept = load_teacher(out / "export" / "hf").model.state_dict()
    assert all(torch.equal(kept[name], value) for name, value in load_teacher(out / "student").model.state_dict().items())
    assert read_json(out / "results" / "export_ct2.json")["encoder_cosine"] > 0.97

    marks = {path: path.stat().st_mtime_ns for path in [out / "student" / "model.safetensors", *out.rglob("export/*/*")]}
    before = (out / "plan.json").read_bytes()
    assert command(*arguments, "--hours", 5, "--plan", "--replan") == 0
    assert "not written" in capsys.readouterr().out and (out / "plan.json").read_bytes() == before
    assert command(*arguments) == 0
    assert marks == {path: path.stat().st_mtime_ns for path in marks}  # nothing was done twice

    write_json(out / "plan.json", plan | {"train": plan["train"] | {"steps": 4}})
    with pytest.raises(RunError, match=r"config\.steps 3 -> 4.*--replan"):
        command(*arguments)
    write_json(out / "plan.json", plan)
    with pytest.raises(RunError, match=r"hours 2\.0 -> 5\.0.*--replan"):
        command(*arguments, "--hours", 5)
    (recordings / "r00.flac").unlink()
    shutil.copy(recordings / "r01.flac", recordings / "r00.flac")
    with pytest.raises(RunError, match="the recordings"):
        command(*arguments)
    assert command(*arguments, "--hours", 5, "--epochs", 1, "--replan") == 0
    assert "planning anew, changed: hours" in capsys.readouterr().out
    assert len(list(out.glob("student.old-*"))) == len(list(out.glob("plan.old-*.json"))) == 1
    assert len(list(out.glob("export/hf.old-*"))) == 1 and len(read_metrics(out / "student")) != 3


def test_a_plan_trims_clips_evenly_and_keeps_the_mixture(recordings, clips):
    parts = own_clips([str(recordings)])
    plan = Plan({"hours": 1}, "", {}, {}, {"train": 6, "mixed in": 2, "dev": 2, "test": 1}, {}, {})
    used = clips_of(plan, parts, clips)
    assert len(used["train"]) == 6 and sum(clip in clips for clip in used["train"]) == 2 and len(used["test"]) == 1


def test_paths_are_made_absolute_and_names_are_kept(recordings, monkeypatch):
    monkeypatch.chdir(recordings.parent)
    (recordings.parent / "copy").mkdir()
    names = ("recordings", "hub:fleurs", "formant_noise", "hub:./copy?text=sentence")
    asked = located(Asked("tiny.en", names, audio_root="copy"))
    assert asked.data == (str(recordings), *names[1:3], f"hub:{recordings.parent}/copy?text=sentence")
    assert asked.teacher == "tiny.en" and asked.audio_root == str(recordings.parent / "copy")


def test_the_best_student_ships_where_there_are_dev_clips_to_tell(tmp_path):
    student = tmp_path / "student"
    (student / "best").mkdir(parents=True)
    for folder in (student, student / "best"):
        (folder / "config.json").touch()
        (folder / "model.safetensors").touch()
    (student / "metrics.jsonl").write_text("".join(
        json.dumps({"step": step, "dev_ce": ce}) + "\n" for step, ce in ((1, 0.9), (2, 0.5), (3, 0.7))))
    write_json(student / "best" / "best.json", {"step": 2, "dev_ce": 0.5})
    assert choose(tmp_path, 30) == student / "best" == finished(tmp_path).model
    assert choose(tmp_path, 29) == student == finished(tmp_path).model
    assert "too few to choose by" in read_json(tmp_path / "results" / "student.json")["note"]
    (tmp_path / "plan.json").write_text('{"asked"')
    with pytest.raises(RunError, match="cannot be read"):
        Plan.read(tmp_path / "plan.json")


SUMMARY = {
    "wer": {"teacher": 9.0, "student": 8.0}, "utterances": 60, "sources": 2, "delta_wer": -1.0, "ci95": [-2.0, -0.1],
    "p50_ms": {"teacher": 50.0, "student": 10.0}, "speedup": 5.0, "same_words_after_conversion": True, "note": "",
}


def test_words_claim_no_more_than_the_recordings_can():
    said = in_words(SUMMARY)
    assert "the student is better" in said and "mean over 2 sources" in said and "faster-whisper" in said
    few = in_words(SUMMARY | {"utterances": 29, "sources": 1, "same_words_after_conversion": False})
    assert "too few recordings for a verdict" in few and "better" not in few and "mean over" not in few and "other words" in few


@pytest.mark.slow
def test_the_report_is_the_notebook_on_the_finished_folder(clips, teacher, tmp_path, monkeypatch, capsys):
    write_folder(tmp_path / "own" / "train", clips[:9])
    write_folder(tmp_path / "own" / "test", clips[9:])
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "out"
    arguments = ["--teacher", teacher, "--mix", 0, "--epochs", 1, "--export", "hf"]
    assert command(*arguments, "--data", "own", "--out", "out", "--no-report") == 0
    marks = {path: path.stat().st_mtime_ns for path in out.glob("export/*/*")}
    monkeypatch.chdir(out)  # as the report does: another name for the same folder makes no other export
    assert command(*arguments, "--data", "../own", "--out", ".") == 0
    page = (out / "report.html").read_text(encoding="utf-8")
    assert str(out / "report.html") in capsys.readouterr().out
    assert "student WER %" in page and "data:audio/mpeg" in page and "image/png" in page
    assert "Exercises" not in page and "Solutions" not in page and "profile = " not in page
    assert str(tmp_path) not in page and "own/train: 9 good recordings" in page
    assert marks == {path: path.stat().st_mtime_ns for path in out.glob("export/*/*")} and len(marks) > 5
    summary = read_json(out / "results" / "summary.json")
    assert f"{summary['wer']['student']:.1f} %" in page
    assert not any(o.get("output_type") == "error" for c in json.loads((out / "report.ipynb").read_text())["cells"]
                   for o in c.get("outputs", []))


def test_without_the_notebooks_there_is_a_message_and_no_crash(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(report, "project_dir", lambda: tmp_path)  # as in a wheel
    assert report.write_report(Asked("t", "d"), tmp_path) is None
    assert "not in the installed package" in capsys.readouterr().out
