"""Recordings longer than 30 s, by both ways, with the real tiny.en on joined sentences."""

import itertools
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import torch

from askd.decoding import transcribe, use_clip_context
from askd.domains import load_clips
from askd.errors import AskdError
from askd.longform import joined, long_log_mel, pause_points, transcribe_long, transcribe_recording, trimmed, way
from askd.scoring import word_errors
from askd.segments import cut_points
from askd.training import save_model

SPEECH_S = 40


@pytest.fixture(scope="module")
def recording():
    """About 40 s of sentences with pauses of 0.5 s, and what is said."""
    parts, said, pause = [], [], np.zeros(8_000, np.float32)
    for clip in load_clips("neural_clean", "test", 20):
        parts += [clip.samples(), pause]
        said.append(clip.text)
        if sum(map(len, parts)) > SPEECH_S * 16_000:
            break
    return np.concatenate(parts), " ".join(said)


@pytest.fixture(scope="module")
def cut(tiny_en, recording):
    seconds = []
    return transcribe_long(*tiny_en, recording[0], "cut", on_seconds=seconds.append), seconds


@pytest.fixture(scope="module")
def sequential(tiny_en, recording):
    seconds = []
    return transcribe_long(*tiny_en, recording[0], on_seconds=seconds.append), seconds


def test_short_clips_are_not_longer_than_thirty_seconds(tiny_en, recording):
    with pytest.raises(AskdError, match=r"hears 30 s at once; for longer recordings use askd\.transcribe_recording"):
        transcribe(*tiny_en, [recording[0]])


def test_both_ways_hear_the_whole_recording(recording, cut, sequential):
    samples, said = recording
    for result, seconds in (cut, sequential):
        found = word_errors([said], [result.text])
        assert found.wer < 15 and found.dele[0] <= 2, result.text  # a window left out would be some 70 words
        assert result.ended and sum(seconds) == pytest.approx(len(samples) / 16_000, abs=0.02) and min(seconds) >= 0


def test_sequential_has_no_log_probs_and_no_marks(sequential, tiny_en):
    result, _ = sequential
    assert (result.log_probs, result.word_tokens) == ((), ()) and "<|" not in result.text
    timestamps = [t for t in result.tokens if t > tiny_en.model.generation_config.no_timestamps_token_id]
    assert len(timestamps) >= 4  # it did go by time: each window begins and ends with one


def test_every_word_of_a_cut_recording_keeps_its_tokens(cut, tiny_en):
    result, _ = cut
    words, starts = result.text.split(), [0, *itertools.accumulate(result.word_tokens)]
    assert len(words) == len(result.word_tokens) and len(result.log_probs) == len(result.tokens) + 1
    for word, start, n in zip(words, starts, result.word_tokens, strict=False):
        assert tiny_en.processor.tokenizer.decode(result.tokens[start : start + n]).strip() == word


def test_cut_is_the_pieces_transcribed_and_joined(tiny_en, recording, cut):
    points = cut_points(recording[0])
    assert len(points) == 3 and points[1] < 30 * 16_000
    pieces = transcribe(*tiny_en, [recording[0][a:b] for a, b in itertools.pairwise(points)])
    assert cut[0].text == " ".join(piece.text for piece in pieces)
    assert cut[0].tokens == tuple(token for piece in pieces for token in piece.tokens)


def test_a_limit_of_tokens_is_of_each_piece_and_shows(tiny_en, recording):
    result = transcribe_long(*tiny_en, recording[0], "cut", max_new_tokens=5)
    assert len(result.tokens) == 10 == len(result.log_probs) and not result.ended


def test_joining_leaves_out_inner_ends_blanks_and_silent_pieces(cut):
    silent = type(cut[0])("", (220,), (-1.0, -2.0), True, ())  # a blank and the end, no word
    result = joined([silent, cut[0], silent, cut[0]])
    assert result.text == f"{cut[0].text} {cut[0].text}"
    assert result.tokens == cut[0].tokens * 2 and result.word_tokens == cut[0].word_tokens * 2
    assert result.log_probs == cut[0].log_probs[:-1] + cut[0].log_probs
    assert joined([silent]) == silent
    assert joined([]) == type(silent)("", (), (), True, ())


def test_joining_windows_keeps_their_timestamps(sequential):
    whole = sequential[0]
    assert joined([whole, whole]).tokens == whole.tokens * 2 and joined([whole, whole]).log_probs == ()


def test_features_are_those_of_the_feature_extractor(tiny_en, recording):
    extractor = tiny_en.processor.feature_extractor
    for n in (480_001, 480_161, 500_007, len(recording[0])):
        samples = recording[0][:n]
        options = {"sampling_rate": 16_000, "truncation": False, "padding": "longest", "return_tensors": "pt"}
        expected = extractor(samples, **options).input_features[0]  # (M, T)
        torch.testing.assert_close(long_log_mel(samples, extractor), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("floor", [0.0, 1e-4, 0.02])
def test_utterances_are_cut_apart_in_their_pauses(floor):
    """Whatever the noise between them: digital silence, a quiet room, 14 dB below the speech."""
    rng = np.random.default_rng(0)
    spoken_s = [2.5, 4.0, 3.0, 6.0, 2.2, 5.0]
    parts = [x for s in spoken_s for x in (0.1 * rng.standard_normal(int(s * 16_000)), floor * rng.standard_normal(9_600))]
    points = pause_points(np.concatenate(parts).astype(np.float32))
    ends = np.cumsum([len(x) for x in parts]).reshape(-1, 2)  # of each utterance, and of the pause after it
    assert len(points) == len(spoken_s) + 1 and points[0] == 0 and points[-1] == ends[-1, 1]
    for point, (spoken, paused) in zip(points[1:-1], ends, strict=False):
        assert point == pytest.approx((spoken + paused) / 2, abs=2_400)


@pytest.mark.parametrize("longest_s", [0.05, 3.0, 8.0])
def test_pieces_are_the_whole_recording_and_never_too_long(longest_s):
    rng = np.random.default_rng(1)
    for seconds in (0.0, 0.004, 1.0, 7.9, 8.1, 33.3):
        noise = rng.standard_normal(int(seconds * 16_000)).astype(np.float32)
        for samples in (noise, 0 * noise, noise * np.linspace(0, 1, len(noise), dtype=np.float32)):
            points = pause_points(samples, longest_s)
            assert points[0] == 0 and points[-1] == len(samples)
            if len(samples):
                assert min(np.diff(points)) > 0 and max(np.diff(points)) <= longest_s * 16_000 + 2 * 160


def test_a_student_of_its_own_context_gets_pieces_of_an_utterance(tiny_en, toy, recording):
    use_clip_context(toy)
    samples = recording[0]
    pieces = [samples[a:b] for a, b in itertools.pairwise(pause_points(samples))]
    results = [transcribe(toy, tiny_en.processor, [piece], max_new_tokens=3)[0] for piece in pieces]
    found = transcribe_long(toy, tiny_en.processor, samples, max_new_tokens=3, batch_size=1)
    assert len(pieces) > 4 and found == joined(results)


def test_who_goes_which_way(toy):
    assert [way(toy, how) for how in ("auto", "sequential", "cut")] == ["sequential", "sequential", "cut"]
    assert way(toy, "auto", 3000) == "sequential" and way(toy, "auto", None) == way(toy, "cut", None) == "cut"
    with pytest.raises(AskdError, match="sequential long-form reads windows of 30 s"):
        way(toy, "sequential", None)
    with pytest.raises(AskdError, match="how must be one of auto, sequential, cut, not 'chunked'"):
        way(toy, "chunked")
    use_clip_context(toy)
    assert way(toy) == way(toy, frames=3000) == "cut" and way(toy, "sequential", 3000) == "sequential"
    with pytest.raises(AskdError, match="--how cut"):
        way(toy, "sequential")


def test_timestamps_that_do_not_advance_are_an_error_not_a_wait(tiny_en, toy, monkeypatch):
    """A model that always ends its first sentence after 20 ms would decode an hour 180,000 times."""
    monkeypatch.setattr("askd.longform.WINDOWS_PER_S", 0)
    stamp = toy.generation_config.no_timestamps_token_id + 1
    script = itertools.cycle([stamp, 262, stamp + 1, stamp + 1, toy.generation_config.eos_token_id])

    def speak(module, inputs, logits):
        logits = logits.clone()
        logits[:, -1, next(script)] += 1e4
        return logits

    toy.proj_out.register_forward_hook(speak)
    with pytest.raises(AskdError, match=r"timestamps of this model do not advance \(at 0 of 35 s\): .*--how cut"):
        noise = 0.01 * np.random.default_rng(0).standard_normal(35 * 16_000)
        transcribe_long(toy, tiny_en.processor, noise.astype(np.float32))


@pytest.fixture(scope="module")
def spoken_at(recording):
    """Seconds at which the sentences of the recording begin and end: the pauses between them are digital silence."""
    loud = np.abs(recording[0]) > 2**-14
    at = np.flatnonzero(loud) / 16_000
    gaps = np.flatnonzero(np.diff(at) > 0.4)
    return np.stack([at[[0, *(gaps + 1)]], at[[*gaps, -1]]], 1)  # (sentences, 2)


@pytest.mark.parametrize("how", ["sequential", "cut"])
def test_parts_are_timed_in_order_and_say_the_same_as_the_whole(tiny_en, recording, spoken_at, cut, sequential, how):
    samples, seconds = recording[0], []
    found = transcribe_recording(*tiny_en, samples, how, on_seconds=seconds.append)
    whole = {"cut": cut, "sequential": sequential}[how][0]
    assert found.how == how and found.ended and found.text.split() == whole.text.split()
    assert found.audio_s == pytest.approx(len(samples) / 16_000, abs=0.001) == pytest.approx(sum(seconds), abs=0.02)
    assert 0.4 * len(spoken_at) < found.silence_s < found.audio_s / 2
    times = [t for part in found.parts for t in (part.start_s, part.end_s)]
    assert times == sorted(times) and times[-1] <= found.audio_s and len(found.parts) >= {"cut": 2, "sequential": 5}[how]
    late_s = {"cut": 0.3, "sequential": 2.0}[how]  # tiny.en's own timestamps are whole seconds here, and stop at its 30 s
    for part in found.parts:
        assert min(abs(part.start_s - spoken_at[:, 0])) < late_s and min(abs(part.end_s - spoken_at[:, 1])) < late_s, part
        for edge in (part.start_s, part.end_s):  # in no pause, but for a margin
            assert np.any((spoken_at[:, 0] - 0.2 < edge) & (edge < spoken_at[:, 1] + 0.2)), part


def test_a_file_gives_what_its_samples_give(tiny_en, recording, tmp_path):
    soundfile.write(tmp_path / "a.wav", recording[0], 16_000, subtype="FLOAT")
    found = [transcribe_recording(*tiny_en, source, "cut", max_new_tokens=8) for source in (tmp_path / "a.wav", recording[0])]
    assert found[0] == found[1]


def test_each_part_says_whether_it_ended(tiny_en, recording):
    found = transcribe_recording(*tiny_en, recording[0], "cut", max_new_tokens=5)
    assert len(found.parts) == 2 and not any(part.ended for part in found.parts) and not found.ended


def test_a_window_at_its_limit_of_tokens_is_marked(tiny_en, toy, recording):
    """A model that never stops writes 448 tokens a window, without a timestamp."""
    always = 1e4 * torch.nn.functional.one_hot(torch.tensor(262), toy.config.vocab_size)
    toy.proj_out.register_forward_hook(lambda module, inputs, logits: logits + always)
    found = transcribe_recording(toy, tiny_en.processor, recording[0][: 8 * 16_000])
    assert [part.ended for part in found.parts] == [False] and found.how == "sequential"


@pytest.mark.parametrize("how", ["sequential", "cut"])
def test_digital_silence_is_not_transcribed(tiny_en, recording, how):
    """Alone tiny.en answers it: `askd.nonspeech` counts how often."""
    silence = np.zeros(70 * 16_000, np.float32)
    found = transcribe_recording(*tiny_en, silence, how)
    assert (found.parts, found.text, found.ended) == ((), "", True) and found.silence_s == found.audio_s == 70
    assert transcribe_long(*tiny_en, silence, how).text == ""
    sentence = recording[0][: int(2.2 * 16_000)]
    both = np.concatenate([sentence, silence, sentence])
    parts = transcribe_recording(*tiny_en, both, how).parts
    assert len(parts) == 2 and parts[0].text == parts[1].text and parts[0].end_s < 3 and parts[1].start_s > 71


@pytest.mark.parametrize("how", ["sequential", "cut"])
@pytest.mark.parametrize("samples", [1, 150, 1_000])
def test_a_moment_of_sound_is_no_error(tiny_en, how, samples):
    click = np.full(samples, 0.1, np.float32)
    found = transcribe_recording(*tiny_en, click, how, max_new_tokens=4)
    assert found.audio_s == pytest.approx(samples / 16_000, abs=1e-3) and all(p.end_s <= found.audio_s for p in found.parts)
    assert transcribe_recording(*tiny_en, click[:0], how).parts == ()


def test_quiet_ends_of_a_piece_are_outside_of_its_times():
    rng, n = np.random.default_rng(0), 16_000
    loud, quiet = 0.1 * rng.standard_normal(n).astype(np.float32), 0.0005 * rng.standard_normal(n).astype(np.float32)
    start, end = trimmed(np.concatenate([loud, quiet, loud, quiet]), n, 4 * n)
    assert start / n == pytest.approx(1.85, abs=0.04) and end / n == pytest.approx(3.15, abs=0.04)
    assert trimmed(np.concatenate([loud, 0.1 * loud]), 0, 2 * n) == (0, 2 * n)  # 20 dB down: it might be speech
    assert trimmed(0 * loud, 10, 500) == (10, 500)


def test_memory_does_not_grow_with_the_recording(tiny_en, toy, recording, tmp_path):
    """40 minutes are 154 MB of samples; after 6 minutes of it, they may take 40 MB more (measured: 10)."""
    use_clip_context(toy)
    save_model(toy, tiny_en.processor, tmp_path / "toy")
    minute = np.concatenate([recording[0][: 30 * 16_000], np.zeros(30 * 16_000, np.float32)])
    for name, minutes in (("short.flac", 6), ("long.flac", 40)):
        soundfile.write(tmp_path / name, np.tile(minute, minutes), 16_000)
    script = (
        "import resource, sys; from askd.longform import transcribe_recording; from askd.teacher import load_teacher\n"
        "model, processor = load_teacher(sys.argv[1])\n"
        "for name in sys.argv[2:]:\n"
        "    found = transcribe_recording(model, processor, name, max_new_tokens=1)\n"
        "    print(round(found.audio_s), len(found.parts), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    )
    arguments = [str(tmp_path / name) for name in ("toy", "short.flac", "long.flac")]
    result = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True)
    (short_s, _, short_kb), (long_s, parts, long_kb) = (map(int, line.split()) for line in result.stdout.splitlines())
    assert (short_s, long_s) == (360, 2400) and parts > 200
    assert (long_kb - short_kb) / 1024 < 40, (short_kb, long_kb)
