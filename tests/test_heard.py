"""Real recordings heard through a channel: another domain of the same recordings."""

import numpy as np
import pytest

from askd.domains import Domain, get_domain, load_clips
from askd.errors import AskdError, UnknownName
from askd.packages import PackageUnavailable
from askd.runs import Run, Settings, default_domains


@pytest.fixture(scope="module")
def prompts():
    """The same six recordings as they are and in a street."""
    try:
        street = load_clips("asterisk_street", "test", 6)
    except PackageUnavailable as error:
        pytest.skip(str(error))
    dry = {clip.id: clip for clip in load_clips("asterisk_8khz", "test", 300)}
    return [dry[clip.id] for clip in street], street


def test_the_words_stay_and_the_noise_is_there(prompts):
    for dry, heard in zip(*prompts, strict=True):
        assert (heard.text, heard.speaker, heard.domain) == (dry.text, dry.speaker, "asterisk_street")
        a, b = dry.samples(), heard.samples()
        assert len(a) == len(b) and heard.sha256 != dry.sha256
        scale = np.dot(a, b) / np.dot(a, a)
        snr_db = 10 * np.log10(np.mean((scale * a) ** 2) / np.mean((b - scale * a) ** 2))
        assert 3 < snr_db < 13  # the street's 4-12 dB


def test_the_same_noise_every_time(prompts, tmp_path, monkeypatch):
    monkeypatch.setenv("ASKD_CACHE", str(tmp_path))
    records = _records(prompts[0])
    monkeypatch.setattr("askd.packages.recordings", lambda name: records)
    again = load_clips("asterisk_street", "test")
    assert {c.id: c.sha256 for c in again} == {c.id: c.sha256 for c in prompts[1]}


def _records(clips):
    from askd.records import Record

    return [Record(clip.id, clip.text, clip.speaker, clip.path, clip.id) for clip in clips]


def test_they_join_a_run_that_names_them(tmp_path):
    assert "asterisk_street" not in default_domains() and "asterisk_8khz" in default_domains()
    run = Run(tmp_path / "run")
    run.start(corpora=["asterisk_street"], test_clips=1, real_clips=2)
    assert run.splits()["asterisk_street"] == "out_of_domain"
    assert Settings(corpora=["common_voice_noise"]).corpora == ("common_voice_noise",)
    with pytest.raises(AskdError, match="asterisk_8khz is neither"):
        Settings(corpora=["asterisk_8khz"])


def test_what_cannot_be_heard_so_is_refused():
    with pytest.raises(AskdError, match="babble needs other talkers"):
        Domain("mine", "out_of_domain", "package", "x", channel="babble")
    with pytest.raises(UnknownName, match=r"known are .*street"):
        Domain("mine", "out_of_domain", "package", "x", channel="strett")
    assert get_domain("common_voice_telephone").roles == ("train", "dev", "test")


def test_the_clips_may_stay_while_the_seed_changes(tmp_path):
    names = {}
    for seed, clips_seed in ((0, None), (1, None), (1, 0)):
        run = Run(tmp_path / f"{seed}{clips_seed}")
        run.start(train_clips=2, seed=seed, clips_seed=clips_seed)
        names[seed, clips_seed] = [clip.sha256 for clip in run.clips("train")]
    assert names[0, None] == names[1, 0] != names[1, None]
