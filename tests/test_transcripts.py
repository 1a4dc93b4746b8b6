"""Timed parts as files, and ``askd transcribe`` with the real tiny.en on real and broken recordings."""

import itertools
import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

import askd
from askd.audio import read_audio
from askd.cli import main
from askd.decoding import transcribe, use_clip_context
from askd.domains import load_clips
from askd.errors import AskdError
from askd.files import only_writer
from askd.scoring import word_errors
from askd.training import save_model
from askd.transcripts import LINE, LINES, Part, Transcript, as_json, as_srt, as_text, as_vtt, cues, from_json, lines_of

CLOCK = r"(\d{2,}):([0-5]\d):([0-5]\d)%s(\d{3})"


def parsed(text, kind):
    """A subtitle file as strict players read it: [(start_ms, end_ms, lines)]."""
    decimal, head = {"srt": (",", ""), "vtt": (r"\.", "WEBVTT\n")}[kind]
    assert text.startswith(head) and "\r" not in text and (not text or text.endswith("\n"))
    found = []
    for number, block in enumerate(filter(None, text[len(head) :].split("\n\n")), 1):
        lines = block.strip("\n").split("\n")
        if kind == "srt":
            assert lines.pop(0) == str(number)
        times = re.fullmatch(CLOCK % decimal + " --> " + CLOCK % decimal, lines.pop(0))
        h, m, s, ms, *end = map(int, times.groups())
        assert lines and all(lines) and not any("-->" in line for line in lines)
        if kind == "vtt":
            assert not any(re.search("[<>]|&(?!amp;|lt;|gt;)", line) for line in lines)
            lines = [line.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&") for line in lines]
        found.append((((h * 60 + m) * 60 + s) * 1000 + ms, ((end[0] * 60 + end[1]) * 60 + end[2]) * 1000 + end[3], lines))
    return found


words = st.text(st.characters(codec="utf-8", exclude_categories=("Z", "C")), min_size=1, max_size=60)


@st.composite
def transcripts(draw):
    """Parts in order, as `transcribe_recording` makes them: some without words, some of no time at all."""
    edges = sorted(draw(st.lists(st.integers(0, 4_000_000), min_size=2, max_size=12)))
    texts = [" ".join(draw(st.lists(words, max_size=30))) for _ in edges[1::2]]
    parts = [Part(a / 1000, b / 1000, text, draw(st.booleans()))
             for a, b, text in zip(edges[::2], edges[1::2], texts, strict=False)]
    return Transcript(tuple(parts), edges[-1] / 1000, 0.0, "cut", {"file": "a.wav"})


@given(transcripts())
@settings(deadline=None, max_examples=60)
def test_subtitles_are_valid_whatever_is_said(transcript):
    said = [word for part in transcript.parts for word in part.text.split()]
    for kind, text in (("srt", as_srt(transcript)), ("vtt", as_vtt(transcript))):
        found = parsed(text, kind)
        times = [ms for start, end, _ in found for ms in (start, end)]
        assert times == sorted(times) and all(start < end for start, end, _ in found)
        assert all(len(lines) <= LINES and max(map(len, lines)) <= LINE for *_, lines in found)
        shown, expected = "".join("".join(line.split()) for *_, lines in found for line in lines), "".join(said)
        arrows = re.compile("-*→|-+>" if kind == "srt" else "$^")  # SRT has no way to write -->
        assert arrows.sub("", shown) == arrows.sub("", expected)
    assert from_json(as_json(transcript)) == transcript == from_json(as_json(transcript, indent=None))


def test_a_long_part_becomes_cues_that_share_its_time_by_characters():
    text = " ".join(["word"] * 60)  # 299 characters
    transcript = Transcript((Part(10.0, 40.0, text), Part(40.0, 40.02, "Yes."), Part(50.0, 51.0, "No.")), 60.0, 0.0, "cut")
    found = cues(transcript)
    assert len(found) == 6 and [cue.lines for cue in found[4:]] == [("Yes.",), ("No.",)]
    assert found[0].start_ms == 10_000 and found[3].end_ms == 40_000
    assert " ".join(line for cue in found[:4] for line in cue.lines) == text
    assert all(a.end_ms == b.start_ms for a, b in itertools.pairwise(found[:4]))
    for cue in found[:4]:
        share = sum(map(len, cue.lines)) / sum(len(line) for c in found[:4] for line in c.lines)
        assert (cue.end_ms - cue.start_ms) / 30_000 == pytest.approx(share, abs=0.001)
    assert (found[4].start_ms, found[4].end_ms) == (40_000, 40_700)  # shown long enough to be read: there is room
    assert parsed(as_srt(transcript), "srt") == [(c.start_ms, c.end_ms, list(c.lines)) for c in found]
    tight = Transcript((Part(1.0, 1.02, "Yes."), Part(1.3, 2.5, "No, not so.")), 3.0, 0.0, "cut")
    assert [(c.start_ms, c.end_ms) for c in cues(tight)] == [(1000, 1300), (1300, 2500)]  # no longer than there is room


def test_lines_are_as_few_as_possible_and_even():
    assert lines_of("Short.") == ["Short."] and lines_of("") == []
    assert lines_of("a" * 100) == ["a" * 42, "a" * 42, "a" * 16]  # a loop without spaces
    two = lines_of("This sentence is just a little too long to fit.")
    assert len(two) == 2 and abs(len(two[0]) - len(two[1])) < 8


def test_hours_text_and_what_browsers_would_take_for_markup():
    transcript = Transcript((Part(36_000.5, 36_001.5, "a < b & c --> d"), Part(0, 0, "", False)), 36_100.0, 0.0, "sequential")
    assert as_srt(transcript) == "1\n10:00:00,500 --> 10:00:01,500\na < b & c → d\n"
    assert as_vtt(transcript) == "WEBVTT\n\n10:00:00.500 --> 10:00:01.500\na &lt; b &amp; c --&gt; d\n"
    assert as_text(transcript) == "a < b & c --> d\n" and not transcript.ended
    assert as_text(transcript, timestamps=True) == "[10:00:00.500 --> 10:00:01.500] a < b & c --> d\n"
    nothing = Transcript((), 5.0, 5.0, "cut")
    assert (as_text(nothing), as_srt(nothing), as_vtt(nothing)) == ("\n", "", "WEBVTT\n")
    assert from_json(as_json(nothing)) == nothing


@pytest.mark.parametrize(("text", "message"), [
    ("{", "not a transcript in JSON"), ("[]", "not a transcript"), ('{"text": "a"}', "not a transcript"),
    ('{"version": 7}', "a transcript of version 7, this program reads version 1"),
    ('{"version": 1, "parts": [{"start": 1}], "audio_s": 1, "silence_s": 0, "how": "cut"}', "not a transcript"),
])
def test_other_json_is_refused(text, message):
    with pytest.raises(AskdError, match=message):
        from_json(text)


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    """Recordings of a user: a real prompt, a long one in stereo MP3, an empty room, and broken ones."""
    folder = tmp_path_factory.mktemp("sounds")
    shutil.copy(load_clips("asterisk_wideband", "test", 1)[0].path, folder / "prompt.g722")
    clips, pause = load_clips("neural_clean", "test", 8), np.zeros(8_000, np.float32)
    soundfile.write(folder / "short.wav", clips[1].samples(), 16_000)
    long = np.concatenate([x for clip in clips for x in (clip.samples(), pause)])  # 35 to 45 s
    (folder / "talks").mkdir()
    soundfile.write(folder / "talks" / "long.mp3", np.stack([soxr.resample(long, 16_000, 44_100)] * 2, 1), 44_100)
    soundfile.write(folder / "talks" / "nobody.flac", np.zeros(3 * 16_000), 16_000)
    broken = folder / "broken"
    broken.mkdir()
    soundfile.write(broken / "zero.wav", np.zeros(0), 16_000)
    (broken / "text.mp3").write_text("not audio")
    (broken / "memo.m4a").write_bytes(b"\0" * 100)
    soundfile.write(broken / "cut.flac", long, 16_000)
    (broken / "cut.flac").write_bytes((broken / "cut.flac").read_bytes()[:200_000])
    (folder / "notes").mkdir()
    (folder / "notes" / "a.txt").write_text("no audio here")
    return folder, clips, " ".join(clip.text for clip in clips)


def test_text_on_the_terminal(sounds, capsys, monkeypatch):
    """One recording: its text. Several: a line each, with the name."""
    folder, clips, said = sounds
    monkeypatch.chdir(folder)
    assert main(["transcribe", "short.wav"]) == 0
    alone = capsys.readouterr().out
    assert word_errors([clips[1].text], [alone]).wer < 20 and len(alone.splitlines()) == 1
    assert main(["transcribe", "short.wav", "talks"]) == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert lines[0] == f"short.wav: {alone.strip()}" and lines[2] == "talks/nobody.flac: " and len(lines) == 3
    assert word_errors([said], [lines[1].removeprefix("talks/long.mp3: ")]).wer < 15
    assert "note: talks/nobody.flac: digital silence, nothing to transcribe" in printed.err


def test_every_format_with_times_and_nothing_done_twice(sounds, tmp_path, capsys):
    folder, _, said = sounds
    out = tmp_path / "made" / "here"
    command = ["transcribe", str(folder / "talks"), str(folder / "prompt.g722"), "--out", str(out)]
    assert main([*command, "--format", "srt", "json"]) == 0
    assert f"3 transcripts in {out}\n" == capsys.readouterr().out
    names = sorted(p.name for p in out.iterdir() if p.is_file())
    assert names == [f"{stem}.{form}" for stem in ("long", "nobody", "prompt") for form in ("json", "srt")]
    found = json.loads((out / "long.json").read_text(encoding="utf-8"))
    assert {name: found[name] for name in ("version", "how", "model", "ended")} == {
        "version": 1, "how": "sequential", "model": "tiny.en", "ended": True}
    assert found["file"].endswith("talks/long.mp3") and found["made"]["weights"] and 30 < found["audio_s"] < 50
    assert all(set(part) == {"start_s", "end_s", "text", "ended"} for part in found["parts"]) and len(found["parts"]) >= 4
    subtitles = parsed((out / "long.srt").read_text(encoding="utf-8"), "srt")
    assert word_errors([said], [" ".join(" ".join(lines) for *_, lines in subtitles)]).wer < 15
    assert (out / "nobody.srt").read_text() == ""

    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.*") if path.suffix in (".json", ".srt")}
    (out / "prompt.srt").unlink()
    assert main([*command, "--format", "srt", "vtt", "txt"]) == 0  # made from what is known
    assert "3 transcripts in" in (said := capsys.readouterr().out) and "3 of them there already (--redo makes them" in said
    assert (out / "prompt.srt").is_file() and len(parsed((out / "long.vtt").read_text(), "vtt")) == len(subtitles)
    changed = [path.name for path, then in before.items() if path.stat().st_mtime_ns != then]
    assert changed == ["prompt.srt"] and len(before) == 9

    corrected = (out / "long.srt").read_text(encoding="utf-8").replace("straight", "right")
    (out / "long.srt").write_text(corrected, encoding="utf-8")
    for options in (["--format", "srt"], ["--format", "txt", "--how", "cut"], ["--format", "txt", "--timestamps"]):
        assert main([*command, *options]) == 2  # somebody's corrections, another way, another look
        error = capsys.readouterr().err
        assert "would be written over" in error and "--redo" in error and len(error.strip().splitlines()) == 1
    assert (out / "long.srt").read_text(encoding="utf-8") == corrected
    assert main([*command, "--format", "srt", "txt", "--timestamps", "--redo"]) == 0
    assert (out / "long.srt").read_text(encoding="utf-8") != corrected
    assert re.match(r"\[00:00:0\d\.\d{3} --> 00:00:0\d\.\d{3}\] \w", (out / "long.txt").read_text(encoding="utf-8"))


def test_an_interrupted_batch_goes_on_and_another_recording_of_the_name_is_noticed(sounds, tmp_path, capsys):
    folder, *_ = sounds
    mine, out = tmp_path / "mine", tmp_path / "out"
    mine.mkdir()
    shutil.copy(folder / "short.wav", mine / "a.wav")
    command = ["transcribe", str(mine), "--out", str(out)]
    assert main(command) == 0
    (out / ".askd" / "a.json").write_text("{")  # a damaged record: not known to be ours any more
    assert main(command) == 2 and "a.txt would be written over" in capsys.readouterr().err
    assert main([*command, "--redo"]) == 0
    shutil.copy(folder / "talks" / "nobody.flac", mine / "b.flac")
    (out / "a.txt").unlink()  # killed between record and file
    assert main(command) == 0
    assert "2 transcripts in" in (said := capsys.readouterr().out) and "1 of them there already" in said
    assert (out / "a.txt").read_text().strip() and (out / "b.txt").read_text() == "\n"
    shutil.copy(folder / "talks" / "long.mp3", mine / "a.wav")  # libsndfile goes by the content
    assert main(command) == 2 and "another recording" in capsys.readouterr().err


def test_bad_recordings_are_named_and_the_others_done(sounds, tmp_path, capsys, monkeypatch):
    folder, *_ = sounds
    monkeypatch.chdir(folder)
    assert main(["transcribe", "broken", "nowhere.wav", "notes", "short.wav", "--out", str(tmp_path)]) == 1
    printed = capsys.readouterr()
    assert "1 transcripts in" in printed.out and (tmp_path / "short.txt").read_text().strip()
    errors = [line for line in printed.err.splitlines() if line.startswith("askd transcribe: ")]
    for expected in ("broken/zero.wav: holds no samples", "broken/text.mp3: cannot be read as audio", "nowhere.wav: no such file",
                     "broken/cut.flac: ", "notes: no audio files"):
        assert sum(line.startswith(f"askd transcribe: {expected}") for line in errors) == 1, expected
    assert any("memo.m4a: .m4a is a format libsndfile does not know; convert it: `ffmpeg -i memo.m4a" in line for line in errors)
    assert errors[-1].startswith("askd transcribe: 6 of 7 not transcribed: ") and len(errors) == 7
    assert not list(tmp_path.glob("cut.*"))


@pytest.mark.parametrize(("arguments", "message"), [
    (["short.wav", "--model", "tiny"], "unknown model 'tiny' (did you mean 'tiny.en'?)"),
    (["short.wav", "--model", "notes"], "notes holds no finished model"),
    (["short.wav", "--format", "srt", "vtt"], "several --format need --out"),
    (["short.wav", "--redo"], "--redo need --out"),
    (["short.wav", "--batch-size", "0"], "--batch-size must be at least 1"),
    (["short.wav", "talks", "--format", "srt"], "subtitles of 3 recordings need --out FOLDER"),
    (["short.wav", "--out", "short.wav"], "--out short.wav cannot be written to (Not a directory"),
    (["short.wav", "--out", "short.wav/in"], "cannot be written to (Not a directory"),
    (["short.wav", "other/short.wav", "--out", "x"], "short.wav and other/short.wav would be written to files of one name"),
])
def test_mistakes_are_one_clear_line(sounds, arguments, message, capsys, monkeypatch, tmp_path):
    shutil.copytree(sounds[0], tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    os.mkdir("other")
    soundfile.write("other/short.wav", np.zeros(100), 16_000)
    assert main(["transcribe", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and len(error.strip().splitlines()) == 1 and not os.path.exists("x")


def test_a_second_program_in_the_same_folder_is_refused(sounds, tmp_path, capsys):
    with only_writer(tmp_path / ".askd"):
        assert main(["transcribe", str(sounds[0] / "short.wav"), "--out", str(tmp_path)]) == 2
    assert f"is being written by process {os.getpid()}" in capsys.readouterr().err


def test_names_that_differ_in_their_suffix_alone_keep_it(sounds, tmp_path, capsys):
    mine = tmp_path / "mine"
    (mine / "below").mkdir(parents=True)
    for name in ("a.wav", "a.flac", "below/a.wav"):
        soundfile.write(mine / name, np.zeros(1_600), 16_000)
    assert main(["transcribe", str(mine), str(mine / "a.wav"), "--out", str(tmp_path / "out")]) == 0  # a.wav once
    made = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.txt"))
    assert made == ["a.flac.txt", "a.wav.txt", "below/a.txt"] and capsys.readouterr().out.startswith("3 transcripts")


def test_a_student_hears_each_piece_on_its_own_length_and_loops_are_named(tiny_en, toy, sounds, tmp_path, capsys, monkeypatch):
    """A student without training: it writes up to the limit everywhere."""
    use_clip_context(toy)
    save_model(toy, tiny_en.processor, tmp_path / "run" / "student")
    monkeypatch.chdir(sounds[0])
    command = ["transcribe", "talks/long.mp3", "short.wav", "--model", str(tmp_path / "run"), "--max-new-tokens", "4", "--format"]
    assert main([*command, "json"]) == 0
    printed = capsys.readouterr()
    long, short = map(json.loads, printed.out.splitlines())  # a line each
    assert long["how"] == short["how"] == "cut" and not long["ended"] and len(long["parts"]) > 4 == 4 * len(short["parts"])
    assert short["text"] == transcribe(toy, tiny_en.processor, [read_audio("short.wav")], max_new_tokens=4)[0].text
    cut = [part for part in long["parts"] if not part["ended"]]
    warned = [line for line in printed.err.splitlines() if "warning: talks/long.mp3, 00:00:" in line]
    assert len(warned) == len(cut) and "cut at the limit of tokens" in warned[0] and "--> 00:00:" in warned[0]
    times = [t for part in long["parts"] for t in (part["start_s"], part["end_s"])]
    assert times == sorted(times) and max(part["end_s"] - part["start_s"] for part in long["parts"]) <= 8.1


def test_askd_transcribe_recording_is_what_the_command_does(tiny_en, sounds):
    folder, clips, _ = sounds
    found = askd.transcribe_recording(*tiny_en, folder / "short.wav")
    assert isinstance(found, Transcript) and word_errors([clips[1].text], [found.text]).wer < 20


def test_ctrl_c_leaves_what_is_finished(sounds, tmp_path):
    """A real interrupt while the long one is decoded."""
    folder, *_ = sounds
    script = (
        "import os, signal, sys; from askd import longform; from askd.cli import main\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell job in the background ignores it\n"
        "heard = longform._heard\n"
        "def stop(model, processor, samples, *others):\n"
        "    if len(samples) > 480_000: os.kill(os.getpid(), signal.SIGINT)\n"
        "    return heard(model, processor, samples, *others)\n"
        "longform._heard = stop\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    arguments = ["transcribe", str(folder / "short.wav"), str(folder / "talks" / "long.mp3"), "--out", str(tmp_path)]
    result = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True)
    assert result.returncode == 130 and "stopped; with --out the same command goes on" in result.stderr, result.stderr
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["short.txt"]
