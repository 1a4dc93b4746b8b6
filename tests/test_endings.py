"""Cut and joined recordings: the right sound with the right words, drawn alike every time, made once."""

import numpy as np
import pytest

from askd import endings
from askd.domains import load_clips
from askd.endings import begins, cut_clips, joined_clips
from askd.errors import AskdError
from askd.packages import PackageUnavailable
from askd.runs import Run, Settings


@pytest.fixture(scope="module")
def prompts():
    """Recordings of a telephone system: one speaker, short sentences."""
    try:
        return [clip for clip in load_clips("asterisk_wideband", "test", 40) if len(clip.text.split()) > 3][:12]
    except PackageUnavailable as error:
        pytest.skip(str(error))


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ASKD_CACHE", str(tmp_path))


def test_a_cut_clip_holds_the_beginning_of_sound_and_words(prompts, tiny_en, own_cache, monkeypatch):
    cut = cut_clips(prompts, 12, *tiny_en)
    assert 2 <= len(cut) < 12  # cuts within words fall out
    whole = {f"{clip.id}-cut": clip for clip in prompts}
    for clip in cut:
        source = whole[clip.id]
        assert begins(source.text, clip.text) and (clip.speaker, clip.domain) == (source.speaker, source.domain)
        assert 0.29 < clip.audio_s / source.audio_s < 0.81
        assert np.abs(clip.samples() - source.samples()[: len(clip.samples())]).max() < 1e-3
    monkeypatch.setattr(endings, "transcribe", lambda model, processor, sounds: sounds and pytest.fail("heard twice"))
    assert cut_clips(prompts, 12, *tiny_en) == cut  # out of the cache
    fewer = cut_clips(prompts, 5, *tiny_en)
    assert fewer == cut[: len(fewer)]


def test_work_that_was_interrupted_is_kept(prompts, tiny_en, own_cache, monkeypatch):
    monkeypatch.setattr(endings, "BLOCK", 4)
    heard, real = [], endings.transcribe

    def once(model, processor, sounds):
        if heard:
            raise KeyboardInterrupt
        heard.extend(sounds)
        return real(model, processor, sounds)

    monkeypatch.setattr(endings, "transcribe", once)
    with pytest.raises(KeyboardInterrupt):
        cut_clips(prompts, 8, *tiny_en)
    monkeypatch.setattr(endings, "transcribe", lambda *args: heard.extend(args[2]) or real(*args))
    cut_clips(prompts, 8, *tiny_en)
    assert len(heard) == 8


def test_another_seed_cuts_elsewhere(prompts, tiny_en, own_cache):
    first, second = (cut_clips(prompts[:4], 4, *tiny_en, seed=seed) for seed in (0, 1))
    assert {clip.sha256 for clip in first}.isdisjoint(clip.sha256 for clip in second)


@pytest.mark.parametrize(("whole", "text", "right"), [
    ("Please hold the line.", "Please, hold.", True), ("Please hold the line.", "Please hold the line.", False),
    ("Please hold the line.", "Please hole", False), ("Please hold the line.", "", False),
    ("Please hold the line.", "Please hold...", False), ("Please hold the line.", "hold the", False),
    ("It's twenty two dollars, sir.", "It is 22 dollars", True),
])
def test_what_is_the_beginning_of_a_transcript(whole, text, right):
    assert begins(whole, text) is right


def test_two_recordings_one_after_the_other(prompts, own_cache):
    pairs = joined_clips(prompts, 4)
    sources = {clip.id: clip for clip in prompts}
    used = [name for pair in pairs for name in pair.id.split("+")]
    assert len(pairs) == 4 and len(set(used)) == 8
    for pair in pairs:
        first, second = (sources[name] for name in pair.id.split("+"))
        assert pair.text == f"{first.text} {second.text}" and pair.speaker == first.speaker
        pause = pair.audio_s - first.audio_s - second.audio_s
        assert 0.19 < pause < 1.21
        samples = pair.samples()
        assert np.abs(samples[: len(first.samples())] - first.samples()).max() < 1e-3
        assert np.abs(samples[-len(second.samples()) :] - second.samples()).max() < 1e-3
        assert not samples[len(first.samples()) : len(first.samples()) + 3000].any()
    assert joined_clips(prompts, 4) == pairs != joined_clips(prompts, 4, seed=1)
    assert len(joined_clips(prompts, 100)) == 6 and joined_clips(prompts[:1], 3) == [] == joined_clips([], 3)


def test_a_pair_of_one_speaker_before_one_of_two_and_none_longer_than_the_window(prompts, own_cache):
    from dataclasses import replace

    some = [replace(clip, speaker=speaker) for clip, speaker in zip(prompts, "aabbcde", strict=False)]
    assert {clip.speaker for clip in joined_clips(some, 9)} >= {"a", "b"} and len(joined_clips(some, 9)) == 3
    assert joined_clips([replace(clip, audio_s=15.0) for clip in prompts], 3) == []


def test_a_run_trains_on_them(prompts, tiny_en, own_cache, tmp_path, monkeypatch):
    run = Run(tmp_path / "run")
    run.start(cut_clips=6, joined_clips=2)
    monkeypatch.setattr(Run, "clips", lambda self, role, *args: list(prompts))
    clips = run.training_clips(*tiny_en)
    assert clips[:12] == prompts and sum("-cut" in clip.id for clip in clips) + 2 == len(clips[12:]) > 2
    run.start()
    assert run.training_clips(*tiny_en) == prompts
    for name in ("cut_clips", "joined_clips"):
        with pytest.raises(AskdError, match=f"{name} must be 0 or more"):
            Settings(**{name: -1})


def test_a_profile_and_the_command_line_ask_for_them(tmp_path, monkeypatch):
    from askd.cli import main
    from askd.reproduce import read_profile, settings_of

    of_profile = settings_of(read_profile("real"))
    assert (of_profile["cut_clips"], of_profile["joined_clips"]) == (1000, 200) and "endings" not in of_profile
    begun = []
    monkeypatch.setattr(Run, "train", lambda self, method, *args: begun.append((method, self.settings())) or self.folder)
    asked = ["train", "--profile", "smoke", "--set", "cut_clips=3", "--set", "lambda_end=0.2", "--out", str(tmp_path / "x")]
    assert main(asked) == 0
    (method, settings), = begun
    assert method == "askd" and settings.cut_clips == 3 and settings.training["overrides"] == {"lambda_end": 0.2}


def test_streamed_clips_are_neither_cut_nor_given_other_words():
    with pytest.raises(AskdError, match="cut_clips changes clips made beforehand"):
        Settings(streaming=True, cut_clips=3)
