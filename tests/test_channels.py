"""Channels do to speech what their names say, and the same in every process."""

import hashlib
import os
import random
import subprocess
import sys

import numpy as np
import pytest

from askd.channels import (
    CHANNELS,
    CODECS,
    NOISES,
    PEAK,
    TRAINED,
    UNSEEN,
    get_channel,
    mix_at_snr,
    room_impulse_response,
    through_codec,
)
from askd.errors import UnknownName
from askd.voices import get_voice

RATE_HZ = 16_000


@pytest.fixture(scope="module")
def speech():
    """A sentence of about 2 s with silence around it."""
    return np.pad(get_voice("joe")("The ferry to the island leaves at nine.", np.random.default_rng(0)), (2000, 2000))


def somebody(rng):
    """A talker who needs no engine: pulses at a drawn pitch, in syllables."""
    time_s = np.arange(int(rng.integers(20_000, 40_000))) / RATE_HZ
    pulses = np.sin(2 * np.pi * rng.uniform(80, 300) * time_s) ** 15
    return (0.3 * pulses * np.sin(2 * np.pi * 2 * time_s) ** 2).astype(np.float32)


def db(ratio):
    return 10 * np.log10(ratio)


def split(heard, said):
    """``heard = a said + rest`` with the rest uncorrelated: both parts."""
    said = said.astype(np.float64)
    part = said * (np.sum(heard * said) / np.sum(said**2))
    return part, heard - part


def power_between(samples, low_hz, high_hz):
    hz = np.fft.rfftfreq(len(samples), 1 / RATE_HZ)
    return np.sum(np.abs(np.fft.rfft(samples)[(hz >= low_hz) & (hz < high_hz)]) ** 2)


def envelope(samples):
    """Root mean square of frames of 20 ms."""
    frames = samples[: len(samples) // 320 * 320].reshape(-1, 320)
    return np.sqrt(np.mean(frames.astype(np.float64) ** 2, axis=1))


def test_what_is_trained_on_is_not_kept_for_tests():
    assert set(TRAINED) == {"clean", "noise", "babble", "telephone", "mobile", "codec", "room"}
    assert set(UNSEEN) == {"street", "hall", "overdriven", "farfield", "interferer"}
    assert not set(TRAINED) & set(UNSEEN) and set(CHANNELS) == set(TRAINED) | set(UNSEEN)
    with pytest.raises(UnknownName, match=r"did you mean 'overdriven'.*babble, clean, codec, .*telephone"):
        get_channel("overdrive")


@pytest.mark.parametrize("name", CHANNELS)
def test_a_channel_is_a_pure_function(name, speech):
    given = speech.copy()
    random.seed(1), np.random.seed(1)
    states = random.getstate(), np.random.get_state()
    heard = get_channel(name)(speech, np.random.default_rng(5), somebody)
    assert random.getstate() == states[0]
    assert all(np.array_equal(a, b) for a, b in zip(np.random.get_state(), states[1], strict=True))
    np.testing.assert_array_equal(speech, given)
    random.seed(2), np.random.seed(2)
    np.testing.assert_array_equal(get_channel(name)(speech, np.random.default_rng(5), somebody), heard)
    other = get_channel(name)(speech, np.random.default_rng(6), somebody)
    assert other.shape != heard.shape or not np.array_equal(other, heard)
    assert heard.dtype == np.float32 and len(speech) <= len(heard) < len(speech) + RATE_HZ
    assert abs(heard.mean()) < 0.05 * heard.std()


def digests():
    """A line of every channel and codec; also run by other processes."""
    said = somebody(np.random.default_rng(0))
    heard = {f"{n} {s}": get_channel(n)(said, np.random.default_rng(s), somebody) for n in CHANNELS for s in range(3)}
    heard |= {sub: through_codec(said, form, sub, rate, levels and levels[1]) for form, sub, rate, levels in CODECS}
    return "\n".join(f"{name} {hashlib.sha256(samples.tobytes()).hexdigest()}" for name, samples in heard.items())


def test_other_processes_hear_the_same():
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", "from test_channels import digests; print(digests())"], stdout=subprocess.PIPE, text=True,
            env=os.environ | {"PYTHONHASHSEED": seed, "OMP_NUM_THREADS": seed}, cwd=os.path.dirname(__file__),
        )
        for seed in ("1", "2")
    ]
    lines = [run.communicate()[0].strip().splitlines() for run in runs]
    assert lines[0] == lines[1] == digests().splitlines() and len(set(lines[0])) == 3 * len(CHANNELS) + len(CODECS)


@pytest.mark.parametrize("name", CHANNELS)
def test_silence_full_scale_and_a_twentieth_of_a_second(name):
    square = np.sign(np.sin(np.arange(RATE_HZ) * 0.3) + 0.01).astype(np.float32)
    for said in (np.zeros(RATE_HZ, np.float32), square, square[:800] * 1e-4):
        for seed in range(6):
            heard = get_channel(name)(said, np.random.default_rng(seed), somebody)
            assert np.isfinite(heard).all() and np.abs(heard).max() <= PEAK + 1e-6 and len(heard) >= len(said)
            assert (np.abs(heard).max() > 1e-9) == said.any()


def test_clean_changes_the_level_alone(speech):
    gains = []
    for seed in range(30):
        kept, rest = split(get_channel("clean")(speech, np.random.default_rng(seed), somebody), speech)
        assert np.sum(rest**2) < 1e-9 * np.sum(kept**2)
        gains.append(db(np.mean(kept**2) / np.mean(speech.astype(np.float64) ** 2)))
    assert -12.01 < min(gains) < -10 and -2 < max(gains) < 0.01


def test_snr_is_what_it_says():
    rng = np.random.default_rng(0)
    said, noise = rng.standard_normal(50_000), rng.standard_normal(50_000) * 7
    for snr_db in (-5.0, 6.0, 20.0):
        added = mix_at_snr(said, noise, snr_db) - said
        assert db(np.mean(said**2) / np.mean(added**2)) == pytest.approx(snr_db, abs=1e-6)


@pytest.mark.parametrize("name,low_db,high_db", [("noise", 3, 20), ("babble", 3, 18), ("street", 4, 12), ("interferer", 6, 14)])
def test_snr_stays_in_its_range(name, low_db, high_db, speech):
    found = []
    for seed in range(16):
        kept, rest = split(get_channel(name)(speech, np.random.default_rng(seed), somebody), speech)
        found.append(db(np.mean(kept**2) / np.mean(rest**2)))
    third = (high_db - low_db) / 3
    assert low_db - 0.3 < min(found) < low_db + third and high_db - third < max(found) < high_db + 0.3


def test_noises_differ_as_their_names():
    noises = {name: make(4 * RATE_HZ, np.random.default_rng(3)) for name, make in NOISES.items()}
    for name, octaves_db in (("white", 0), ("pink", -3), ("brown", -6)):
        slope = db(power_between(noises[name], 2000, 2500) / power_between(noises[name], 250, 312.5) / 8) / 3
        assert slope == pytest.approx(octaves_db, abs=0.7), name
    crest = {name: np.abs(noise).max() / noise.std() for name, noise in noises.items()}
    assert crest["bursts"] > 2 * max(crest[name] for name in noises if name != "bursts")
    spectrum = np.abs(np.fft.rfft(noises["fan"]))  # bins of 0.25 Hz
    hum = max(spectrum[4 * hz] / np.median(spectrum[4 * hz - 20 : 4 * hz + 20]) for hz in (100, 120, 200, 240))
    assert hum > 10
    for noise in noises.values():
        assert power_between(noise, 0, 25) < 0.05 * np.sum(np.abs(np.fft.rfft(noise)) ** 2)


def test_babble_holds_the_other_talkers(speech):
    """Three to six of them, each found in the rest by circular correlation; somebody who did not speak is not found."""

    def matches(rest, talker):
        product = np.fft.irfft(np.fft.rfft(rest) * np.conj(np.fft.rfft(talker)), len(rest))
        return np.abs(product).max() / np.sqrt(np.sum(rest**2) * np.sum(talker**2))

    def talker(rng):
        return rng.standard_normal(len(speech))

    for seed in range(6):
        spoke = []
        heard = get_channel("babble")(speech, np.random.default_rng(seed), lambda r, s=spoke: s.append(talker(r)) or s[-1])
        rest = split(heard, speech)[1]
        assert 3 <= len(spoke) <= 6
        assert min(matches(rest, t) for t in spoke) > 0.15 > 2 * matches(rest, talker(np.random.default_rng(99)))


def test_phones_have_no_high_frequencies(speech):
    hiss = np.random.default_rng(0).standard_normal(len(speech)).astype(np.float32) * 0.1
    for name, low_hz, high_hz in (("telephone", 300, 3400), ("mobile", 200, 3600)):
        for said in (speech, hiss):
            heard = get_channel(name)(said, np.random.default_rng(1), somebody)
            assert power_between(heard, 4100, 8001) < 1e-4 * power_between(heard, low_hz, high_hz)
            assert power_between(heard, 0, 100) < 0.02 * power_between(heard, low_hz, high_hz)
        density = [power_between(heard, *band) / (band[1] - band[0]) for band in ((500, 2500), (60, 120))]
        assert db(density[0] / density[1]) > 9, name  # of hiss: the band itself, over the noise of the codec


@pytest.mark.parametrize("codec", [(*c[:3], level) for c in CODECS for level in c[3] or (None,)])
def test_a_codec_changes_the_signal_and_keeps_the_words(codec, speech):
    heard = through_codec(speech, *codec)
    assert len(speech) <= len(heard) < len(speech) + 4000
    delayed = [heard[lag : lag + len(speech)] for lag in range(len(heard) - len(speech) + 1)]
    assert max(np.corrcoef(envelope(speech), envelope(same))[0, 1] for same in delayed[::80]) > 0.9
    assert max(np.corrcoef(speech, same)[0, 1] for same in delayed) < 0.9999
    late = np.zeros(RATE_HZ, np.float32)
    late[-1600:] = np.sin(2 * np.pi * 800 * np.arange(1600) / RATE_HZ) * 0.3
    assert np.sum(through_codec(late, *codec) ** 2) > 0.7 * np.sum(late**2)  # the end is not cut


@pytest.mark.parametrize(("rt60_s", "distance_m"), [(0.3, 0.5), (0.3, 2), (0.6, 2), (0.7, 6), (0.8, 1), (1.4, 3)])
def test_a_room_has_the_reverberation_time_asked_for(rt60_s, distance_m):
    from pyroomacoustics.experimental import measure_rt60

    for seed in range(4):
        response = room_impulse_response(rt60_s, distance_m, np.random.default_rng(seed))
        assert measure_rt60(response[64:], RATE_HZ, decay_db=30) == pytest.approx(rt60_s, rel=0.12)
        first = np.flatnonzero(np.abs(response) > 0.3 * np.abs(response[:20]).max())[0]
        assert 14 <= first <= 17  # the direct sound, after 1 ms


def test_far_is_more_reverberant_than_near():
    def direct_db(distance_m, seed):
        energy = room_impulse_response(0.5, distance_m, np.random.default_rng(seed)) ** 2
        return db(energy[:56].sum() / energy[56:].sum())  # the first 2.5 ms after it begins against the rest

    for seed in range(4):
        assert direct_db(0.5, seed) > direct_db(1.5, seed) > direct_db(5, seed)


def test_rooms_ring_after_the_last_word_and_halls_longer():
    click = np.zeros(RATE_HZ // 2, np.float32)
    click[-1] = 1
    lasts = {}
    for name in ("room", "hall"):
        lasts[name] = []
        for seed in range(6):
            tail = get_channel(name)(click, np.random.default_rng(seed), somebody)[len(click) - 1 :].astype(np.float64)
            energy = np.cumsum(tail[::-1] ** 2)[::-1]
            lasts[name].append(np.argmax(energy < energy[0] / 100) / RATE_HZ)  # until 20 dB down
    assert min(lasts["room"]) > 0.02 and max(lasts["room"]) < min(lasts["hall"])


def test_overdriven_is_clipped_and_dull(speech):
    tone = np.sin(2 * np.pi * 250 * np.arange(RATE_HZ) / RATE_HZ).astype(np.float32) * 0.5
    for seed in range(6):
        heard = get_channel("overdriven")(tone, np.random.default_rng(seed), somebody)[2000:]
        fundamental, third = power_between(heard, 240, 260), power_between(heard, 740, 760)
        assert -13 < db(third / fundamental) < -9.5  # a square wave has -9.5 dB, the tone none
        voice = get_channel("overdriven")(speech, np.random.default_rng(seed), somebody)
        assert np.abs(voice).max() / voice.std() < 0.7 * np.abs(speech).max() / speech.std()
        assert power_between(voice, 7000, 8001) < 1e-4 * power_between(voice, 0, 7000)


def test_farfield_fills_the_pauses_with_noise(speech):
    """The quietest frames are the ambient noise, 8 to 18 dB below the speech; in the dry clip they are zeros."""
    for seed in range(4):
        heard = envelope(get_channel("farfield")(speech, np.random.default_rng(seed), somebody))
        quietest = np.sort(heard)[: len(heard) // 20 + 1].mean()
        assert 4 < 2 * db(np.sqrt(np.mean(heard**2)) / quietest) < 25
