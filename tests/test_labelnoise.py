"""Exchanged transcripts: the share asked for, within a domain, drawn alike every time, and of a run that asks for them."""

from collections import Counter

import pytest

from askd.clips import Clip
from askd.errors import AskdError
from askd.labelnoise import swap_transcripts
from askd.runs import Run, Settings


def clips(domain: str, count: int) -> list[Clip]:
    return [Clip(f"{domain}-{i}", domain, "s", f"{domain} {i}", 1.0, f"{i}.flac", "0") for i in range(count)]


def test_a_share_of_each_domain_carries_anothers_words():
    given = clips("near", 40) + clips("far", 10) + clips("lone", 1)
    swapped = swap_transcripts(given, 0.3)
    other = [now for was, now in zip(given, swapped, strict=True) if was.text != now.text]
    assert Counter(clip.domain for clip in other) == {"near": 12, "far": 3}
    assert [clip.id for clip in swapped] == [clip.id for clip in given]
    assert sorted(clip.text for clip in swapped) == sorted(clip.text for clip in given)  # none lost, none twice
    assert all(clip.text.startswith(clip.domain) for clip in swapped)
    assert swap_transcripts(given, 0.3) == swapped != swap_transcripts(given, 0.3, seed=1)
    assert swap_transcripts(given, 0.0) == given
    assert swap_transcripts([], 0.3) == []
    assert all(was.text != now.text for was, now in zip(given[:50], swap_transcripts(given, 1.0), strict=False))


def test_a_run_that_asks_for_them(monkeypatch, tmp_path):
    run, given = Run(tmp_path / "run"), clips("near", 10)
    monkeypatch.setattr(Run, "clips", lambda self, role, *args: list(given))
    run.start(wrong_transcripts=0.4)
    assert sum(was != now for was, now in zip(given, run.training_clips(None, None), strict=True)) == 4
    for wrong in (-0.1, 1.1, "some"):
        with pytest.raises(AskdError, match="wrong_transcripts must"):
            Settings(wrong_transcripts=wrong)
