"""Log-mel equals transformers', and padding afterwards equals padding before."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from askd.errors import AudioError, CacheError
from askd.features import encode, log_mel, log_mels, pad_features, silence_of
from askd.featurestore import FeatureStore


@pytest.mark.parametrize("samples", [1600, 16000, 55555, 479_999, 480_000])
def test_equal_to_the_feature_extractor(tiny_en, samples):
    audio = (np.random.default_rng(samples).standard_normal(samples) * 0.1).astype(np.float32)
    theirs = tiny_en.processor.feature_extractor(audio, sampling_rate=16000, return_tensors="pt").input_features
    ours = log_mel(audio)
    assert (ours - theirs[0, :, : ours.shape[1]]).abs().max() < 1e-4
    assert (pad_features([ours], 3000) - theirs).abs().max() < 1e-4


def test_a_batch_is_each_clip_alone():
    rng = np.random.default_rng(0)
    sizes = (400, 480_000, 16_001, 90_000, 1, 479_700)
    clips = [(rng.standard_normal(n) * 10 ** -rng.uniform(0, 3)).astype(np.float32) for n in sizes]
    for alone, together in zip(map(log_mel, clips), log_mels(clips), strict=True):
        assert together.shape == alone.shape and (together - alone).abs().max() < 1e-4


def test_features_on_disk(clips, tmp_path, monkeypatch):
    monkeypatch.setenv("ASKD_CACHE", str(tmp_path))
    store = FeatureStore(clips[:3])
    for row in (2, 0, 1):
        assert torch.equal(store.read(row), log_mels([c.samples() for c in clips[:3]])[row])
    last, stamp = store.read(2), store.path.stat().st_mtime_ns
    assert FeatureStore(clips[:3]).path.stat().st_mtime_ns == stamp  # computed once
    with open(store.path, "r+b") as file:
        file.truncate(1000)
    again = FeatureStore(clips[:3])  # a cut file is made again
    assert torch.equal(again.read(2), last)
    index = store.path.with_suffix(".json")
    index.write_text(index.read_text()[:30])
    assert torch.equal(FeatureStore(clips[:3]).read(2), last)
    with open(store.path, "r+b") as file:
        file.seek(-4, 2)
        file.write(b"\0\0\0\7")
    with pytest.raises(CacheError, match="is damaged: delete it"):
        FeatureStore(clips[:3]).read(2)


def test_broken_clips_are_named_before_training(clips, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("ASKD_CACHE", str(tmp_path / "cache"))
    (tmp_path / "broken.flac").write_bytes(b"fLaC")
    bad = dataclasses.replace(clips[0], path=str(tmp_path / "broken.flac"), sha256="x")
    with pytest.raises(AudioError, match=r"broken\.flac"):
        FeatureStore([clips[0], bad, clips[1]])
    store = FeatureStore([clips[0], bad, clips[1]], skip_bad=True)
    assert store.usable == [clips[0], clips[1]] and "left out 1 of 3" in capsys.readouterr().out
    assert torch.equal(store.read(1), log_mels([clips[0].samples(), clips[1].samples()])[1])
    assert len(FeatureStore([clips[0], bad, clips[1]], skip_bad=True).usable) == 2
    (tmp_path / "broken.flac").write_bytes(Path(clips[0].path).read_bytes())  # mended, or the disk is back
    assert len(FeatureStore([clips[0], bad, clips[1]]).usable) == 3


def test_digital_silence_and_near_silence(tiny_en):
    for audio in (np.zeros(16000, np.float32), np.full(16000, 1e-6, np.float32)):
        theirs = tiny_en.processor.feature_extractor(audio, sampling_rate=16000, return_tensors="pt").input_features
        assert (pad_features([log_mel(audio)], 3000) - theirs).abs().max() < 1e-4


def test_each_row_is_padded_with_its_own_silence():
    short, long = torch.full((80, 10), 1.0), torch.full((80, 21), 0.2)
    batch = pad_features([short, long])
    assert batch.shape == (2, 80, 22)  # rounded up to an even number
    assert batch[0, 0, 10].item() == pytest.approx(silence_of(short)) == pytest.approx(-1.0)
    assert batch[1, 0, 21].item() == pytest.approx(-1.5)  # the absolute floor: log10(1e-10), scaled
    assert pad_features([long], 10).shape == (1, 80, 10)


@torch.inference_mode()
def test_encoder_on_thirty_seconds_is_transformers_own(tiny_en):
    features = torch.randn(1, 80, 3000)
    torch.testing.assert_close(
        encode(tiny_en.model, features), tiny_en.model.model.encoder(features).last_hidden_state, atol=1e-4, rtol=1e-4
    )
    assert encode(tiny_en.model, features[:, :, :500]).shape == (1, 250, 384)
