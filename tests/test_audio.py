"""The one door for sound: every format people have, every way a file can be broken."""

import subprocess
import sys

import av
import numpy as np
import pytest
import soundfile

from askd.audio import duration_s, read_audio, to_16khz_mono, write_flac
from askd.errors import AudioError


def tone(rate, seconds=1.0, hz=440):
    return 0.3 * np.sin(2 * np.pi * hz * np.arange(int(rate * seconds)) / rate)


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 44100, 48000])
@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT", "ULAW"])
def test_any_rate_and_format(tmp_path, rate, subtype):
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(rate), rate, subtype=subtype)
    samples = read_audio(path)
    assert samples.dtype == np.float32
    assert len(samples) == pytest.approx(16000, abs=2)
    spectrum = np.abs(np.fft.rfft(samples[1000:15000]))
    assert np.fft.rfftfreq(14000, 1 / 16000)[spectrum.argmax()] == pytest.approx(440, abs=2)


def test_stereo_is_averaged(tmp_path):
    path = tmp_path / "a.flac"
    soundfile.write(path, np.stack([tone(16000), np.zeros(16000)], 1), 16000)
    np.testing.assert_allclose(read_audio(path), tone(16000) / 2, atol=1e-3)


def broken(tmp_path, kind):
    path = tmp_path / f"{kind}.wav"
    if kind == "text":
        path.write_text("this is not audio")
    elif kind == "empty file":
        path.write_bytes(b"")
    elif kind == "no samples":
        soundfile.write(path, np.zeros(0), 16000)
    elif kind == "nan":
        soundfile.write(path, np.array([0.0, np.nan, 0.1]), 16000, subtype="FLOAT")
    elif kind == "too long":
        soundfile.write(path, np.zeros(31 * 8000), 8000)
    elif kind == "truncated":
        whole = tmp_path / "whole.flac"
        soundfile.write(whole, np.random.default_rng(0).normal(size=32000) * 0.1, 16000)
        path = tmp_path / "truncated.flac"
        path.write_bytes(whole.read_bytes()[:20000])
    elif kind == "half a wav":
        soundfile.write(path, np.random.default_rng(0).normal(size=32000) * 0.1, 16000)
        path.write_bytes(path.read_bytes()[:20000])
    elif kind == "half an ogg":
        path = tmp_path / "half an ogg.opus"
        soundfile.write(path, np.random.default_rng(0).normal(size=320000) * 0.1, 16000, format="OGG", subtype="OPUS")
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif "g722" in kind:
        path = tmp_path / kind.replace(" ", ".")
        if kind.startswith("empty"):
            path.touch()
    elif kind == "folder":
        path.mkdir()
    return path


BROKEN = ("text", "empty file", "no samples", "nan", "too long", "truncated", "half a wav", "half an ogg", "folder", "missing",
          "empty g722", "missing g722", "missing m4a")


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_files_are_named(tmp_path, kind):
    path = broken(tmp_path, kind)
    with pytest.raises(AudioError, match=str(path.name)):
        read_audio(path)
    if kind in ("text", "empty file", "no samples", "folder", "missing", "empty g722", "missing g722"):
        with pytest.raises(AudioError, match=str(path.name)):  # the header tells
            duration_s(path)


def encode(path, codec, seconds=1.0):
    """A real file of a codec that only FFmpeg writes."""
    with av.open(str(path), "w", format={".g722": "g722", ".G722": "g722"}.get(path.suffix)) as container:
        stream = container.add_stream(codec, rate=16000, layout="mono")
        samples = (32767 * tone(16000, seconds)).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.rate = 16000
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)
    return path


@pytest.mark.parametrize("name", ["a.g722", "A.G722"])
def test_g722_is_read_by_its_suffix(tmp_path, name):
    path = encode(tmp_path / name, "g722")
    samples = read_audio(path)
    assert len(samples) / 16000 == duration_s(path) == pytest.approx(1, abs=0.01)
    assert np.abs(samples).max() == pytest.approx(0.3, abs=0.05)


def test_g722_without_pyav_says_what_to_install(tmp_path):
    encode(tmp_path / "a.g722", "g722")
    code = "import sys; sys.modules['av'] = None; from askd.audio import read_audio; read_audio('a.g722')"
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert "askd.errors.AskdError: a.g722:" in result.stderr and "pip install 'askd[speech]'" in result.stderr


@pytest.mark.parametrize("name", ["memo.m4a", "memo.AAC", "memo.mp4"])
def test_what_telephones_record_is_refused_with_the_command_that_converts_it(tmp_path, name):
    path = encode(tmp_path / name, "aac")
    for read in (read_audio, duration_s):
        with pytest.raises(AudioError, match=rf"{name}: .*`ffmpeg -i {name} memo\.flac`"):
            read(path)


def test_loud_audio_is_scaled_not_wrapped(tmp_path):
    write_flac(tmp_path / "loud.flac", np.array([0.0, 2.0, -1.0], np.float32))
    np.testing.assert_allclose(read_audio(tmp_path / "loud.flac"), [0, 1, -0.5], atol=1e-3)


def test_no_limit_when_none_is_asked():
    assert len(to_16khz_mono(np.zeros(40 * 16000), 16000, max_audio_s=None)) == 40 * 16000
