"""Pseudo-labels: bare audio of any length, each filter, transcripts that are known, kill -9, and a student trained on them."""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from askd.audio import read_audio
from askd.commands import pseudolabel as command
from askd.domains import load_clips
from askd.errors import AskdError, AudioError, RunError
from askd.files import only_writer, read_json
from askd.labelfilters import Filters, compression_ratio, judged, repeated_ngrams
from askd.pseudolabel import pseudolabel, report_text
from askd.records import Record
from askd.rows import json_lines
from askd.scoring import word_errors
from askd.segments import Segment, cut_points, cut_records, find_records, segment_errors
from askd.training import TrainConfig, train

FINAL = ("labels.jsonl", "rejected.jsonl", "report.json", "transcripts.jsonl")
PAUSE = 12_800  # samples, 0.8 s
SCRIPT = """
import sys
import torch
torch.set_num_threads(1)
from askd.pseudolabel import pseudolabel
from askd.teacher import load_teacher
pseudolabel(*load_teacher("tiny.en"), sys.argv[1], sys.argv[2], progress=False, block=2)
"""


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """The same bits as in the process that is killed."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """A folder without a transcript: 73 s of clips with pauses between them, and two short ones. What is said, and where."""
    clips = load_clips("neural_clean", "train", 16)
    folder = tmp_path_factory.mktemp("data") / "bare"
    (folder / "short").mkdir(parents=True)
    said = [clips[i] for i in (1, 2, 3, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15)]
    sound = [np.concatenate([clip.samples(), np.zeros(PAUSE, np.float32)]) for clip in said]
    soundfile.write(folder / "long.wav", np.concatenate(sound), 16_000)
    for i in (1, 5):
        soundfile.write(folder / "short" / f"{i}.wav", clips[i].samples(), 16_000)
    (folder / ".hidden.wav").write_bytes(b"not sound")
    return folder, said, np.cumsum([0, *map(len, sound)])


@pytest.fixture(scope="module")
def done(bare, tiny_en, tmp_path_factory):
    """That folder, labelled by tiny.en without interruption."""
    out = tmp_path_factory.mktemp("labels") / "out"
    pseudolabel(*tiny_en, bare[0], out, progress=False, block=2)
    return out


@pytest.fixture
def labels(done, tmp_path):
    """A copy of the finished folder, to work on."""
    return Path(shutil.copytree(done, tmp_path / "labels"))


def read_rows(path):
    return [row for _, row in json_lines(path)]


def kept(folder):
    return read_rows(folder / "labels.jsonl")


def reasons(folder):
    return {row["id"]: row["reason"] for row in read_rows(folder / "rejected.jsonl")}


# ---- bare audio -------------------------------------------------------------------------------------------------------


def test_bare_audio_becomes_labels_and_no_word_is_lost(bare, done):
    rows = kept(done)
    assert [row["id"].partition("#")[0] for row in rows] == ["bare/long.wav"] * 3 + ["bare/short/1.wav", "bare/short/5.wav"]
    heard = word_errors([" ".join(clip.text for clip in bare[1])], [" ".join(row["text"] for row in rows[:3])])
    assert heard.wer < 8  # tiny.en on the clips one by one: 5 %
    report = read_json(done / "report.json")
    assert report["kept"]["segments"] == 5 and report["recordings"] == 3 and not report["rejected"]
    assert report["kept"]["hours"] == pytest.approx(sum(row["duration_s"] for row in rows) / 3600, abs=1e-4)
    assert all(0.5 < row["confidence"] <= 1 and row["ended"] and row["wer"] is None for row in rows)


def test_pieces_join_to_the_recording_and_the_cuts_are_in_pauses(bare, done):
    folder = bare[0]
    pieces = [row for row in kept(done) if "#" in row["id"]]
    sound = [read_audio(done / row["path"]) for row in pieces]
    whole = read_audio(folder / "long.wav", None)
    assert len(whole) > 70 * 16_000 and max(map(len, sound)) <= 30 * 16_000
    assert np.abs(np.concatenate(sound) - whole).max() <= 2**-15
    for cut in np.cumsum([len(piece) for piece in sound])[:-1]:
        assert np.abs(whole[cut - 3200 : cut + 3200]).max() < 0.01 * np.abs(whole).max(), "the cut lies in speech"


def test_cut_points():
    rng = np.random.default_rng(0)
    for seconds in (5, 30, 30.01, 31, 44.9, 61, 200.5):
        points = cut_points(rng.standard_normal(int(seconds * 16_000)).astype(np.float32))
        lengths = np.diff(points) / 16_000
        assert points[0] == 0 and points[-1] == int(seconds * 16_000) and lengths.max() <= 30.001
        assert (len(points) == 2) == (seconds <= 30) and (len(points) == 2 or lengths.min() >= 5)


def test_files_that_no_table_names_are_counted(bare, tmp_path, capsys):
    folder = Path(shutil.copytree(bare[0], tmp_path / "mine"))
    (folder / "metadata.csv").write_text("file_name,text\nlong.wav,Hello.\n")
    assert [record.id for record in find_records(folder, tmp_path)] == ["long.wav"]
    assert "2 audio files that no table names are passed over" in capsys.readouterr().out


def test_our_own_files_and_what_cannot_be_read(bare, tmp_path):
    folder = Path(shutil.copytree(bare[0], tmp_path / "mine"))
    cut_records(find_records(folder, folder), folder, workers=1)  # labels beside the sound: audio/*.flac
    assert len(list((folder / "audio").iterdir())) == 3
    found = find_records(folder, folder)
    assert [record.id for record in found] == ["long.wav", "short/1.wav", "short/5.wav"]
    assert {record.domain for record in found} == {"mine"} and not any(record.text for record in found)
    assert [r.id for r in find_records(folder / "short" / "1.wav", tmp_path)] == ["1.wav"]
    assert len(find_records(folder, folder, clips=2)) == 2
    (folder / "transcripts.jsonl").touch()
    assert len(find_records(folder, tmp_path / "elsewhere")) == 3  # nor pieces in another folder of labels
    (folder / "phone.m4a").write_bytes(b"....")
    (folder / "cut.wav").write_bytes((folder / "long.wav").read_bytes()[:9000])
    segments, bad = cut_records(find_records(folder, folder), tmp_path, workers=1)
    assert len(segments) == 5 and len(bad) == 2 and "cut.wav: truncated" in bad[0] and "ffmpeg -i phone.m4a" in bad[1]
    (tmp_path / "empty").mkdir()
    with pytest.raises(AskdError, match="no audio files"):
        find_records(tmp_path / "empty", tmp_path)
    with pytest.raises(AskdError, match="no part 'dev2'"):
        find_records(folder, tmp_path, role="dev2")


def test_bad_audio_is_named_before_the_teacher_starts_or_counted(bare, tiny_en, labels):
    folder = labels.parent / "bare"
    shutil.copytree(bare[0], folder)
    before = (labels / "transcripts.jsonl").read_bytes()
    for name in ("a.wav", "b.flac"):
        (folder / name).write_bytes(b"RIFF....")
    with pytest.raises(AudioError, match=r"2 of 5 recordings cannot be used.*--skip-bad(?s:.*)a\.wav(?s:.*)b\.flac"):
        pseudolabel(*tiny_en, folder, labels, progress=False)
    report = pseudolabel(*tiny_en, folder, labels, progress=False, skip_bad=True)
    assert len(report["left_out"]) == 2 and report["kept"]["segments"] == 5 and "left out 2" in report_text(report)
    assert (labels / "transcripts.jsonl").read_bytes() == before  # the same sound elsewhere is not decoded again


# ---- filters ----------------------------------------------------------------------------------------------------------

GOOD = "We will meet at the station at noon."


def row(text=GOOD, given="", log_probs=(-0.1,) * 9, ended=True, audio_s=3.0, label="teacher"):
    segment = Segment(Record("a", given, "s", Path("a.wav"), domain="d"), "a.wav", "0", 0, int(audio_s * 16_000), True)
    errors = segment_errors(given, [text])[0] if given else None
    return judged(segment, {"text": text, "log_probs": log_probs, "ended": ended}, errors, label)


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (row(), ""),
        (row(given=GOOD.upper()), ""),
        (row(given="We will meet at the station at three."), "WER"),
        (row(""), "no words"),
        (row("[BLANK_AUDIO]"), "no words"),
        (row(ended=False), "not ended"),
        (row("no no no no no no no no no"), "repetition"),
        (row("la" * 60), "compression"),
        (row(log_probs=(-1.1,) * 9), "confidence"),
        (row(audio_s=1.0), "pace"),
        (row("Thank you.", audio_s=25.0), "pace"),
        (row(GOOD.upper()), "capitals"),
        (row(label="given"), "no transcript"),
    ],
)
def test_each_filter(found, reason):
    assert Filters().reason(found) == reason


def test_filters_can_be_changed_and_check_themselves():
    unsure = row(log_probs=(-0.1,) * 8 + (-3.0,))
    assert not Filters().reason(unsure) and Filters(min_token_confidence=0.06).reason(unsure) == "token confidence"
    off = Filters(None, None, None, None, None, None, True)
    assert not any(off.reason(r) for r in (row("no " * 20), row("LA" * 60), row(given="something else"), row(log_probs=(-9.0,))))
    assert Filters().reason(row(log_probs=(-1.0,))) == ""  # Whisper falls back below -1, not at it
    for field, value in {"max_wer": -1, "min_confidence": 1.2, "chars_per_s": (5, 2)}.items():
        with pytest.raises(AskdError, match=field):
            Filters(**{field: value})


def test_measures():
    assert repeated_ngrams("A red fox ran down there. A red fox ran down there!") == 2  # of 8 five-grams 6 are distinct
    assert compression_ratio("la" * 100) > 2.4 > compression_ratio(GOOD)
    assert row()["confidence"] == pytest.approx(np.exp(-0.1), abs=1e-4) and row()["chars_per_s"] == pytest.approx(36 / 3)


def test_errors_of_segments():
    one, two = "Please open the first window.", "It is cold in the kitchen today."
    assert segment_errors(f"{one} {two}", [one, two]) == [(0, 5), (0, 7)]
    assert segment_errors(f"{one} {two}", [one, "It is hot in the kitchen today."]) == [(0, 5), (1, 7)]
    assert segment_errors(f"{one} {two}", [one + " Thank you.", two]) == [(2, 5), (0, 7)]
    assert segment_errors(f"{one} {two}", [one, "in the kitchen today"]) == [(3, 8), (3, 7)]  # missing at the seam: of both
    assert segment_errors(one, ["", ""]) == [(5, 5), (5, 5)] and segment_errors("(noise)", ["a b"]) == [(2, 0)]
    for heard in ("open a first window please", "", "Please open the first the first window"):
        counts = word_errors([one], [heard])
        assert segment_errors(one, [heard]) == [(int(counts.errors[0]), int(counts.words[0]))]


def test_a_transcript_cut_at_the_limit_is_rejected(bare, tiny_en, tmp_path):
    report = pseudolabel(*tiny_en, bare[0] / "short" / "1.wav", tmp_path / "out", max_new_tokens=4, progress=False)
    assert reasons(tmp_path / "out") == {"1/1.wav": "not ended"} and report["rejected"]["not ended"]["segments"] == 1
    assert (tmp_path / "out" / "labels.jsonl").read_text() == ""


def test_given_transcripts_are_checked_segment_by_segment(bare, tiny_en, labels):
    folder, said, begins = bare
    first_cut = kept(labels)[1]["start_s"] * 16_000
    texts = [clip.text for clip in said]
    wrong = int(np.searchsorted(begins, first_cut + 100)) + 1  # a sentence of the second piece, not its first
    texts[wrong] = "Nothing of this kind was ever said by anybody in here."
    table = labels.parent / "given.jsonl"
    rows = [("long.wav", " ".join(texts)), ("short/1.wav", said[0].text), ("short/5.wav", "We had no dinner.")]
    table.write_text("".join(json.dumps({"path": str(folder / name), "text": text}) + "\n" for name, text in rows))
    before = (labels / "transcripts.jsonl").stat().st_mtime_ns
    report = pseudolabel(*tiny_en, table, labels, Filters(max_wer=15), progress=False)
    assert (labels / "transcripts.jsonl").stat().st_mtime_ns == before  # nothing was decoded
    assert sorted(r["start_s"] for r in read_rows(labels / "rejected.jsonl")) == [0.0, round(first_cut / 16_000, 2)]
    assert set(reasons(labels).values()) == {"WER"} and "WER against" in report_text(report)
    assert report["kept"]["wer"] < 15 < report["all"]["wer"]
    short = next(r for r in kept(labels) if r["recording"].endswith("1.wav"))
    assert short["wer"] == pytest.approx(word_errors([said[0].text], [short["teacher"]]).wer, abs=0.01)
    pseudolabel(*tiny_en, table, labels, Filters(max_wer=15), text="given", progress=False)
    assert [r["text"] for r in kept(labels)] == [said[0].text]  # whose words a piece of a recording holds is not known
    assert sorted(reasons(labels).values()) == ["WER", "WER", "no transcript", "no transcript"]


def test_the_same_sound_is_taken_once(bare, tiny_en, labels, capsys):
    twin = labels.parent / "bare"
    (twin / "short").mkdir(parents=True)
    shutil.copy(bare[0] / "short" / "1.wav", twin / "short")
    pseudolabel(*tiny_en, [bare[0], bare[0], twin], labels, progress=False)
    assert "3 recordings are in the data more than once" in capsys.readouterr().out
    assert reasons(labels) == {"bare-3/short/1.wav": "duplicate"} and len(kept(labels)) == 5
    table = labels.parent / "given.jsonl"
    rows = [(bare[0] / "short" / "1.wav", "Something else."), (twin / "short" / "1.wav", bare[1][0].text)]
    table.write_text("".join(json.dumps({"path": str(path), "text": text}) + "\n" for path, text in rows))
    pseudolabel(*tiny_en, table, labels, progress=False)  # the first of the two that is kept
    assert list(reasons(labels).values()) == ["WER"] and [row["given"] for row in kept(labels)] == [bare[1][0].text]


# ---- a folder of labels -----------------------------------------------------------------------------------------------


def test_killed_and_resumed_is_the_same_byte_for_byte(bare, done, tiny_en, tmp_path):
    out = tmp_path / "out"
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(bare[0]), str(out)])
    path, deadline = out / "transcripts.jsonl", time.time() + 300
    while not (path.is_file() and path.stat().st_size) and time.time() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    whole = (done / "transcripts.jsonl").read_bytes()
    saved = path.read_bytes()
    assert 0 < len(saved) < len(whole) and whole.startswith(saved) and not (out / "labels.jsonl").exists()
    path.write_bytes(whole[: len(saved) + 300])  # as if it had died while it wrote: half a line more
    started = path.stat().st_mtime_ns
    pseudolabel(*tiny_en, bare[0], out, progress=False, block=2)
    assert path.stat().st_mtime_ns > started
    for name in (*FINAL, *sorted(f"audio/{p.name}" for p in (done / "audio").iterdir())):
        assert (out / name).read_bytes() == (done / name).read_bytes(), name


def test_a_damaged_block_is_dropped_and_the_others_serve(labels):
    from askd.pseudolabel import _read_transcripts

    path = labels / "transcripts.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    assert len(_read_transcripts(path)) == len(lines) == 5
    path.write_text("".join([lines[0], lines[1].replace("true", "false", 1), *lines[2:]]))
    assert len(_read_transcripts(path)) == 3 and path.read_text() == "".join(lines[2:])


def test_other_filters_and_teachers_share_the_folder(bare, tiny_en, toy, labels):
    before = (labels / "transcripts.jsonl").read_text()
    first = kept(labels)
    report = pseudolabel(*tiny_en, bare[0], labels, Filters(min_confidence=0.999), progress=False)
    assert report["rejected"]["confidence"]["segments"] == 5 and kept(labels) == []
    pseudolabel(toy, tiny_en.processor, bare[0], labels, max_new_tokens=3, progress=False)
    assert set(reasons(labels).values()) == {"not ended"}
    after = (labels / "transcripts.jsonl").read_text()
    assert after.startswith(before) and len(after.splitlines()) == 10
    pseudolabel(*tiny_en, bare[0], labels, progress=False)
    assert kept(labels) == first
    with only_writer(labels), pytest.raises(RunError, match=str(os.getpid())):
        pseudolabel(*tiny_en, bare[0], labels, progress=False)


@pytest.mark.parametrize(("field", "value"), [("text", "both"), ("precision", "int8"), ("batch_size", 0)])
def test_settings_are_checked(field, value, tmp_path):
    with pytest.raises(AskdError, match=field):
        pseudolabel(None, None, "nowhere", tmp_path, **{field: value})


def test_a_student_trains_on_labels_of_bare_audio(done, toy, tiny_en, tmp_path):
    clips = load_clips(done / "labels.jsonl", "all")
    assert [clip.text for clip in clips] == [row["text"] for row in kept(done)]
    assert [clip.id for clip in clips] == [row["id"] for row in kept(done)]
    assert all(Path(clip.path).is_file() for clip in clips) and len({clip.speaker for clip in clips}) == 3
    config = TrainConfig(method="constant_kd", steps=2, batch_size=2, top_k=8, precision="fp32")
    out = train(config, toy, tiny_en.processor, clips, tmp_path / "run", progress=False)
    losses = [row["loss"] for row in read_rows(out / "metrics.jsonl")]
    assert len(losses) == 2 and np.isfinite(losses).all() and (out / "model.safetensors").is_file()
    assert len(load_clips(done / "labels.jsonl", "train")) > 2  # what `askd train --data labels.jsonl` takes


def test_the_command(bare, labels, capsys):
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    assert "--max-repeats" in parser.format_help() and "askd pseudolabel" in command.EXAMPLES
    start = ["--data", str(bare[0]), "--out", str(labels), "--precision", "fp32"]
    assert command.run(parser.parse_args([*start, "--max-wer", "none", "--chars-per-s", "2", "30"])) is None
    assert "kept                       5" in (said := capsys.readouterr().out) and f"--data {labels}/labels.jsonl" in said
    assert "cannot score" in said and "--train-clips 5 --decoder-layers 4" in said
    assert read_json(labels / "report.json")["filters"]["max_wer"] is None
    assert command.run(parser.parse_args([*start, "--chars-per-s", "none"])) is None
    assert read_json(labels / "report.json")["filters"]["chars_per_s"] is None
    with pytest.raises(AskdError, match="two rates"):
        command.run(parser.parse_args([*start, "--chars-per-s", "3"]))
    capsys.readouterr()
    assert command.run(parser.parse_args([*start, "--min-confidence", "0.99"])) == 1
    assert "nothing is kept" in capsys.readouterr().out
