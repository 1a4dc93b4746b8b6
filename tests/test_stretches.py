"""Recordings of any length in bounded memory: blocks are the file, stretches are the recording."""

import numpy as np
import pytest
import soundfile

from askd.audio import read_audio
from askd.domains import load_clips
from askd.errors import AudioError
from askd.stretches import (
    BLOCK,
    REACH_S,
    SILENCE,
    STRETCH_S,
    check_sound,
    in_blocks,
    is_silent,
    silence_s,
    sound_blocks,
    stretches,
)

RATE = 16_000


def noise(seconds, rate=RATE, seed=0):
    return (0.1 * np.random.default_rng(seed).standard_normal(int(seconds * rate))).astype(np.float32)


@pytest.mark.parametrize(("name", "rate", "channels"), [
    ("a.wav", 44_100, 2), ("a.wav", 8_000, 1), ("a.flac", 16_000, 1), ("a.mp3", 48_000, 2), ("a.opus", 48_000, 1),
])
def test_blocks_are_the_file_as_a_whole(tmp_path, name, rate, channels):
    seconds = 2.3 * BLOCK / rate  # so that blocks meet twice
    ogg = {"format": "OGG", "subtype": "OPUS"} if name == "a.opus" else {}
    soundfile.write(tmp_path / name, np.stack([noise(seconds, rate, i) for i in range(channels)], 1), rate, **ogg)
    blocks, whole = list(sound_blocks(tmp_path / name)), read_audio(tmp_path / name, max_audio_s=None)
    assert len(blocks) >= 3 and all(block.dtype == np.float32 for block in blocks)
    found = np.concatenate(blocks)
    assert len(found) == pytest.approx(len(whole), abs=1) and check_sound(tmp_path / name) == pytest.approx(seconds, abs=0.1)
    n = min(len(found), len(whole))
    np.testing.assert_allclose(found[:n], whole[:n], atol=1e-4)


def test_blocks_of_real_g722():
    path = load_clips("asterisk_wideband", "test", 1)[0].path
    np.testing.assert_array_equal(np.concatenate(list(sound_blocks(path))), read_audio(path, max_audio_s=None))


@pytest.mark.parametrize("seconds", [0.0, 0.01, 299.0, 329.9, 331.0, 1000.0])
def test_stretches_are_the_recording_and_bounded(seconds):
    samples = noise(seconds)
    found = list(stretches(in_blocks(samples)))
    np.testing.assert_array_equal(np.concatenate([np.zeros(0, np.float32), *found]), samples)
    assert all(0 < len(s) <= (STRETCH_S + REACH_S) * RATE for s in found)
    assert all((STRETCH_S - REACH_S) * RATE <= len(s) <= STRETCH_S * RATE for s in found[:-1])
    assert len(found) == (0 if not seconds else 1 if seconds < 330 else 2 if seconds < 400 else 4)


def test_a_stretch_ends_in_a_pause():
    samples = noise(400)
    samples[int(281.0 * RATE) : int(281.6 * RATE)] *= 0.01
    assert len(next(stretches(in_blocks(samples)))) / RATE == pytest.approx(281.3, abs=0.1)


def broken(folder, kind):
    whole, rate = folder / "whole.flac", 16_000
    soundfile.write(whole, noise(60), rate)
    if kind == "truncated.flac":
        (folder / kind).write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    elif kind == "truncated.wav":
        soundfile.write(folder / kind, noise(60), rate)
        (folder / kind).write_bytes((folder / kind).read_bytes()[:1_000_000])
    elif kind == "half.opus":
        soundfile.write(folder / kind, noise(60), rate, format="OGG", subtype="OPUS")
        (folder / kind).write_bytes((folder / kind).read_bytes()[: (folder / kind).stat().st_size // 2])
    elif kind == "nan.wav":  # far in, not in the first block
        samples = noise(60)
        samples[-5] = np.nan
        soundfile.write(folder / kind, samples, rate, subtype="FLOAT")
    elif kind == "zero.wav":
        soundfile.write(folder / kind, np.zeros(0), rate)
    elif kind in ("empty.mp3", "empty.g722"):
        (folder / kind).touch()
    elif kind == "text.wav":
        (folder / kind).write_text("not audio")
    return folder / kind


@pytest.mark.parametrize("kind", [
    "truncated.flac", "truncated.wav", "half.opus", "nan.wav", "zero.wav", "empty.mp3", "empty.g722", "text.wav", "missing.wav",
])
def test_a_broken_file_is_named_before_anything_is_made_of_it(tmp_path, kind):
    with pytest.raises(AudioError, match=kind):
        check_sound(broken(tmp_path, kind))


def test_digital_silence_is_told_from_faint_noise():
    quiet = np.zeros(RATE, np.float32)
    dither = (np.random.default_rng(0).triangular(-1, 0, 1, RATE) / 2**15).round(decimals=6).astype(np.float32)
    room = noise(1.0) * 0.01  # -60 dBFS
    assert is_silent(quiet) and is_silent(dither) and is_silent(quiet[:0]) and not is_silent(room)
    assert silence_s(np.concatenate([quiet, room, dither])) == pytest.approx(2.0, abs=0.02)
    assert silence_s(quiet[:100]) == 0 and SILENCE < 1e-4
    click = quiet.copy()
    click[-1] = 0.5
    assert not is_silent(click) and silence_s(click) == pytest.approx(0.99)
