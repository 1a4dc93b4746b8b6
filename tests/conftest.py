"""Shared pieces: the real teacher, a few real clips, a toy Whisper that trains in seconds."""

import pytest
import torch

from askd.domains import load_clips
from askd.teacher import load_teacher

torch.set_num_threads(2)


@pytest.fixture(scope="session")
def tiny_en():
    """The real tiny.en and its processor."""
    return load_teacher("tiny.en")


@pytest.fixture(scope="session")
def clips():
    """Twelve synthetic training clips of two domains."""
    return load_clips("neural_clean", "train", 6) + load_clips("formant_telephone", "train", 6)


@pytest.fixture
def toy(tiny_en):
    """A random Whisper of tiny.en's vocabulary: 32 wide, 2 + 4 layers, the same weights every time."""
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    torch.manual_seed(0)
    config = WhisperConfig.from_dict(
        tiny_en.model.config.to_dict()
        | dict(d_model=32, encoder_layers=2, decoder_layers=4, encoder_attention_heads=2, decoder_attention_heads=2,
               encoder_ffn_dim=64, decoder_ffn_dim=64)
    )
    model = WhisperForConditionalGeneration(config).eval()
    model.generation_config = tiny_en.model.generation_config
    return model


@pytest.fixture
def undrawn(request, monkeypatch):
    """An ablation's report without its figures, which take a second, unless the test asks for ``drawn``."""
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr("askd.ablationreport.ablation_drawings", lambda ablation: {})


@pytest.fixture
def drawn():
    """The figures of an ablation, closed afterwards."""
    import matplotlib.pyplot as plt

    yield
    plt.close("all")
