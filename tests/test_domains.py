"""No leaks, the same clip everywhere, and caches that mend themselves."""

import re
import subprocess
import sys
import time

import numpy as np
import pytest

from askd import domains
from askd.channels import CHANNELS, get_channel, mix_at_snr
from askd.domains import all_domains, domain_names, get_domain, load_clips
from askd.errors import AskdError, UnknownName
from askd.sentences import sentences, split_of, topics


def test_enough_natural_sentences():
    everything = [s for t in topics() for s in sentences(t)]
    assert len({re.sub(r"[^a-z ]", "", s.lower()) for s in everything}) >= 3000
    assert len(topics()) >= 6
    for sentence in everything:
        assert sentence.isascii() and not re.search(r"\d", sentence) and sentence[-1] in ".?!", sentence
        assert 3 <= len(sentence.split()) <= 40, sentence


def test_splits_do_not_depend_on_case_or_punctuation():
    assert split_of("Hello there, you!") == split_of("hello there you")
    for topic in topics():
        parts = [set(sentences(topic, role)) for role in ("train", "dev", "test")]
        assert sum(map(len, parts)) == len(set(sentences(topic)))
        assert not parts[0] & parts[1] and not parts[0] & parts[2] and not parts[1] & parts[2]


def test_no_test_sentence_is_ever_trained_on():
    trained, tested = set(), set()
    for name in domain_names(source="synthetic"):
        domain = get_domain(name)
        for role in domain.roles:
            words = {re.sub(r"[^a-z ]", "", t.lower()) for t in domains._texts(domain, role)}
            (trained if role == "train" else tested).update(words)
    assert trained and tested and not trained & tested


def test_out_of_domain_voices_channels_and_topics_are_unseen():
    seen = [get_domain(n) for n in domain_names("in_domain")]
    unseen = [get_domain(n) for n in domain_names("out_of_domain", "synthetic")]
    assert len(seen) >= 6 and len(unseen) >= 3
    for part in ("voices", "topics"):
        ours = {x for d in seen for x in getattr(d, part)}
        assert not ours & {x for d in unseen for x in getattr(d, part)}
    accents = {v.split(":")[1].split("+")[0] for d in seen for v in d.voices if v.startswith("espeak")}
    assert not accents & {v.split(":")[1].split("+")[0] for d in unseen for v in d.voices}
    assert not {d.channel for d in seen} & {d.channel for d in unseen}
    assert all(d.roles == ("test",) for d in unseen)
    with pytest.raises(AskdError, match="no 'train' clips"):
        load_clips("scottish_street", "train", 4)


@pytest.mark.parametrize("name", ["neural_noise", "formant_telephone"])
def test_a_clip_is_the_same_whatever_was_spoken_before(name, tmp_path, monkeypatch):
    monkeypatch.setenv("ASKD_CACHE", str(tmp_path / "a"))
    many = load_clips(name, "test", 10, workers=2)
    monkeypatch.setenv("ASKD_CACHE", str(tmp_path / "b"))
    few = load_clips(name, "test", 3, workers=1)
    assert [c.sha256 for c in few] == [c.sha256 for c in many[:3]]
    assert [c.sha256 for c in load_clips(name, "test", 3, seed=1, workers=1)] != [c.sha256 for c in few]
    assert few[0].samples().dtype == np.float32 and few[0].audio_s > 0.5


def test_the_clock_does_not_reach_the_voices():
    """espeak-ng seeds its breath noise with the second it starts in; two processes in different seconds must agree."""
    code = (
        "import hashlib, numpy as np; from askd.voices import get_voice\n"
        "for name in ('espeak:en-us+f3', 'espeak:en-029+f5', 'espeak:en-gb-x-rp+f2', 'espeak:en-us+whisper', 'hibari', 'joe'):\n"
        "    speech = get_voice(name)('Please call me back before noon.', np.random.default_rng(3))\n"
        "    print(name, hashlib.sha256(speech.tobytes()).hexdigest())"
    )
    runs = []
    for _ in range(2):
        runs.append(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
        time.sleep(1.1)
    assert runs[0] == runs[1] and len(set(runs[0].split())) == 12


def test_a_damaged_clip_is_made_again(tmp_path, monkeypatch):
    monkeypatch.setenv("ASKD_CACHE", str(tmp_path))
    clip = load_clips("formant_clean", "dev", 2)[0]
    with open(clip.path, "r+b") as file:
        file.truncate(100)
    again = load_clips("formant_clean", "dev", 2)[0]
    assert again.sha256 == clip.sha256
    assert again.samples().size > 0
    assert not list((tmp_path / "speech").glob(".*"))  # no scratch folders left


@pytest.mark.parametrize("name", CHANNELS)
def test_channels_are_finite_seeded_and_do_not_touch_their_input(name):
    speech = np.random.default_rng(0).standard_normal(16000).astype(np.float32) * 0.1
    before = speech.copy()
    first, second = (get_channel(name)(speech, np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(speech, before)
    assert np.isfinite(first).all() and len(first) >= len(speech) - 2


def test_snr_is_what_it_says():
    rng = np.random.default_rng(0)
    speech, noise = rng.standard_normal(50_000), rng.standard_normal(50_000) * 7
    added = mix_at_snr(speech, noise, 6.0) - speech
    assert 10 * np.log10(np.mean(speech**2) / np.mean(added**2)) == pytest.approx(6.0, abs=1e-6)


def test_telephone_has_no_high_frequencies():
    speech = np.random.default_rng(0).standard_normal(32000).astype(np.float32) * 0.1
    spectrum = np.abs(np.fft.rfft(get_channel("telephone")(speech, np.random.default_rng(0)))) ** 2
    hz = np.fft.rfftfreq(32000, 1 / 16000)
    assert spectrum[hz > 4200].sum() < 0.01 * spectrum[(hz > 300) & (hz < 3400)].sum()


def test_unknown_names_say_what_exists():
    with pytest.raises(UnknownName, match=r"known are .*neural_telephone"):
        get_domain("telefone")
    with pytest.raises(UnknownName, match="overdriven"):
        get_channel("radio")
    with pytest.raises(UnknownName, match="medical"):
        sentences("astrology")
    with pytest.raises(AskdError, match="at least 1"):
        load_clips("neural_clean", "test", 0)
    assert set(all_domains()) == set(domain_names("in_domain")) | set(domain_names("out_of_domain"))
