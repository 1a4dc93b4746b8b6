"""Tokens of words, teacher-forced answers, calibration and word confidence against libraries and closed forms."""

import json
import time
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from askd import calibration, forced, wordconfidence
from askd.calibration import ece, measures, over_confidence, reliability, report, token_sums
from askd.decoding import SPREAD, TAIL, tokens_per_word, transcribe, use_clip_context
from askd.errors import AskdError, AudioError
from askd.forced import forced_rows, judge
from askd.intervals import Draws
from askd.rows import TOKENS, read_rows
from askd.wordconfidence import auroc, information, judged_words, nce

# ---- tokens of words


@pytest.fixture(scope="module")
def tokenizer(tiny_en):
    return tiny_en.processor.tokenizer


@pytest.fixture(scope="module")
def decoded(tiny_en, clips):
    return transcribe(*tiny_en, [clip.samples() for clip in clips[3:9]])


def test_tokens_of_real_words_decode_to_the_words(decoded, tokenizer):
    assert sum(len(result.word_tokens) for result in decoded) > 30
    for result in decoded:
        words, start = result.text.split(), 0
        assert len(result.word_tokens) == len(words)
        for word, count in zip(words, result.word_tokens, strict=True):
            assert tokenizer.decode(result.tokens[start : start + count]).strip() == word
            start += count
        assert start <= len(result.log_probs) - result.ended  # the end belongs to no word


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        (" Mr. Smith, isn't it?", (2, 2, 2, 2)),  # punctuation and contractions are glued to their words
        (" 你好 ok", (5, 1)),  # a character in pieces, after a token that is a space alone
        ("ok  ok", (1, 2)),  # the second space is a token of its own
        ("ok ", (1,)),  # a space at the end belongs to no word
        ("", ()),
        ("  ", ()),
    ],
)
def test_tokens_per_word(tokenizer, text, counts):
    ids = tokenizer(text, add_special_tokens=False).input_ids
    assert tokens_per_word(tokenizer, ids, tokenizer.decode(ids).strip()) == counts


def test_special_and_unknown_tokens_make_no_word(tokenizer):
    ids = tokenizer(" good day", add_special_tokens=False).input_ids
    assert tokens_per_word(tokenizer, [50257, ids[0], 50363, ids[1], 50256], "good day") == (2, 2)
    start = tokenizer(" start", add_special_tokens=False).input_ids
    assert tokens_per_word(tokenizer, [50257, *start], "start") == (2,)  # not found in <|startoftranscript|>


def test_a_character_that_breaks_off(tokenizer):
    ids = tokenizer.convert_tokens_to_ids(["ä", "½", "Ġok"])  # two of the three bytes of a character
    text = tokenizer.decode(ids)
    assert text == "\N{REPLACEMENT CHARACTER} ok"
    assert tokens_per_word(tokenizer, ids, text) == (2, 1)


def test_spaces_cleaned_up_before_punctuation(tokenizer):
    ids = tokenizer(" so , you do n't know ?", add_special_tokens=False).input_ids
    text = tokenizer.clean_up_tokenization(tokenizer.decode(ids)).strip()
    assert text == "so, you don't know?"
    assert tokens_per_word(tokenizer, ids, text) == (2, 1, 3, 2)  # so+, you do+n+'t know+?


COMMON = [198, 220, 447, 247, 171, 120, 222, 6, 11, 13, 383, 1462, 50256, 50362, 51863]  # spaces, pieces of characters, marks


@settings(deadline=None, max_examples=150)
@given(ids=st.lists(st.one_of(st.sampled_from(COMMON), st.integers(0, 51_863)), max_size=30))
def test_any_tokens_keep_the_invariants(tokenizer, ids):
    text = tokenizer.decode(ids, skip_special_tokens=True).strip()
    counts = tokens_per_word(tokenizer, ids, text)
    words = text.split()
    assert len(counts) == len(words) and sum(counts) <= len(ids) and min(counts, default=0) >= 0
    for i, end in enumerate(np.cumsum(counts).tolist()):
        so_far = "".join(words[: i + 1])

        def first(n):
            return "".join(tokenizer.decode(ids[:n], skip_special_tokens=True).split())

        assert first(end).startswith(so_far)  # these tokens are enough ...
        if counts[i] and "\N{REPLACEMENT CHARACTER}" not in text:
            assert not first(end - 1).startswith(so_far)  # ... and no fewer are


# ---- teacher-forced answers


@pytest.fixture(scope="module")
def teacher_rows(tiny_en, clips):
    return forced_rows(*tiny_en, clips[5:8])


def test_judge_agrees_with_sklearn():
    rng = np.random.default_rng(0)
    logits, labels = 3 * rng.standard_normal((200, 7)), rng.integers(7, size=200)
    found = {name: value.numpy() for name, value in judge(torch.tensor(logits).float(), torch.tensor(labels)).items()}
    probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(found["confidence"], probs.max(1), atol=1e-5)
    np.testing.assert_array_equal(found["right"], probs.argmax(1) == labels)
    assert found["nll"].mean() == pytest.approx(log_loss(labels, probs, labels=range(7)), abs=1e-5)
    theirs = brier_score_loss(labels, probs, labels=range(7), scale_by_half=False)
    assert found["brier"].mean() == pytest.approx(theirs, abs=1e-5)


def test_teacher_rows_are_those_of_transformers(tiny_en, clips, teacher_rows):
    """Its own features, padded to 30 s, its own forward and its own loss."""
    model, processor = tiny_en
    for clip, row in zip(clips[5:8], teacher_rows, strict=True):
        assert (row["domain"], row["id"], row["speaker"]) == (clip.domain, clip.id, clip.speaker)
        ids = [50257, 50362, *processor.tokenizer(" " + clip.text, add_special_tokens=False).input_ids, 50256]
        labels = torch.tensor([[-100, *ids[2:]]])
        features = processor.feature_extractor(clip.samples(), sampling_rate=16_000, return_tensors="pt").input_features
        with torch.no_grad():
            out = model(input_features=features, decoder_input_ids=torch.tensor([ids[:-1]]), labels=labels)
        assert np.mean(row["nll"]) == pytest.approx(out.loss.item(), abs=1e-3)
        probs = out.logits[0, 1:].double().softmax(-1)  # (N, V)
        one_hot = torch.nn.functional.one_hot(labels[0, 1:], probs.shape[-1])
        assert row["right"] == (probs.argmax(-1) == labels[0, 1:]).long().tolist()
        np.testing.assert_allclose(row["confidence"], probs.max(-1).values, atol=1e-3)
        np.testing.assert_allclose(row["brier"], (probs - one_hot).square().sum(-1), atol=2e-3)


def test_batches_do_not_change_rows(toy, tiny_en, clips, monkeypatch):
    """A student on its clip's own context, which is the same whatever clips it is batched with."""
    use_clip_context(toy)
    heard, collate = {}, forced.collate

    def listening(examples, chosen, frames):
        heard.update({examples[i].clip.id: frames - examples[i].frames for i in chosen})
        return collate(examples, chosen, frames)

    monkeypatch.setattr(forced, "collate", listening)
    clips = clips[::2]
    together = forced_rows(toy, tiny_en.processor, clips, batch_size=4)
    assert all(TAIL <= silence < TAIL + SPREAD for silence in heard.values()) and len(heard) == len(clips)
    alone = forced_rows(toy, tiny_en.processor, clips[::-1], batch_size=1)[::-1]
    for a, b in zip(together, alone, strict=True):
        assert a["id"] == b["id"] and a["right"] == b["right"]
        for name in TOKENS:
            np.testing.assert_allclose(a[name], b[name], atol=3e-5)


def test_rows_are_kept_and_read_back_without_the_model(toy, tiny_en, clips, tmp_path, monkeypatch, capsys):
    use_clip_context(toy)
    path = tmp_path / "forced" / "toy.jsonl"
    first = forced_rows(toy, tiny_en.processor, clips[:2], path)
    with monkeypatch.context() as patched:
        patched.setattr(forced, "label_logits", lambda *_: pytest.fail("the model was run again"))
        assert forced_rows(toy, tiny_en.processor, clips[:2], path) == json.loads(json.dumps(first)) == first
    assert len(forced_rows(toy, tiny_en.processor, clips[:3], path)) == 3  # other clips: made anew
    with torch.no_grad():
        toy.proj_out.weight *= 2
    other = forced_rows(toy, tiny_en.processor, clips[:2], path)  # other weights too
    assert other[0]["nll"] != first[0]["nll"]
    whole = path.read_text()
    path.write_text(whole[:-40])  # cut: made anew, and said
    assert forced_rows(toy, tiny_en.processor, clips[:2], path) == other == read_rows(path)
    assert path.read_text() == whole and "made anew" in capsys.readouterr().out
    for line in path.read_text().splitlines():
        json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} in a row"))


def test_clips_that_cannot_be_answered_are_named_or_left_out(toy, tiny_en, clips, tmp_path, capsys):
    use_clip_context(toy)
    sound = tmp_path / "cut.flac"
    soundfile.write(sound, clips[0].samples(), 16_000)
    sound.write_bytes(sound.read_bytes()[:5000])
    wordy = replace(clips[1], id="wordy", text="word " * 500)
    lasting = replace(clips[2], id="lasting", audio_s=31.0)
    broken = replace(clips[3], id="broken", path=str(sound), sha256="cut")
    ask = lambda chosen, **options: forced_rows(toy, tiny_en.processor, chosen, **options)  # noqa: E731
    with pytest.raises(AskdError, match=r"wordy: \d+ tokens, more than the decoder's 448"):
        ask([clips[0], wordy])
    with pytest.raises(AskdError, match=r"longer than 30 s.*lasting"):
        ask([clips[0], lasting])
    with pytest.raises(AudioError, match=r"cut\.flac"):
        ask([clips[0], broken])
    for _ in range(2):  # made, then read back
        rows = ask([wordy, clips[0], lasting, broken], skip_bad=True, path=tmp_path / "rows.jsonl")
        assert [row["id"] for row in rows] == [clips[0].id]
        assert "left out" in capsys.readouterr().out
    with pytest.raises(AskdError, match="30 s"):  # rows that lack some are not taken for all
        ask([wordy, clips[0], lasting, broken], path=tmp_path / "rows.jsonl")
    with pytest.raises(AskdError, match="none of 1 clips"):
        ask([lasting], skip_bad=True)
    with torch.no_grad():
        toy.proj_out.weight.fill_(float("nan"))
    with pytest.raises(AskdError, match=f"{clips[0].id}: .*not a finite number"):
        ask(clips[:1])


# ---- calibration


def test_ece_and_reliability_agree_with_sklearn():
    rng = np.random.default_rng(0)
    confidence = rng.beta(4, 1, 5000)
    right = rng.random(5000) < confidence**2
    diagram = [entry for entry in reliability(confidence, right) if entry["count"]]
    accuracy, mean = calibration_curve(right, confidence, n_bins=15)
    np.testing.assert_allclose([entry["accuracy"] for entry in diagram], 100 * accuracy, atol=1e-4)
    np.testing.assert_allclose([entry["confidence"] for entry in diagram], 100 * mean, atol=1e-4)
    count = np.array([entry["count"] for entry in diagram])
    assert ece(confidence, right) == pytest.approx(100 * (count / 5000) @ np.abs(accuracy - mean))
    assert over_confidence(confidence, right) == pytest.approx(100 * (confidence.mean() - right.mean()))


def test_closed_forms():
    found = measures([0.95, 0.75, 0.65, 0.5], [1, 0, 0, 0], [1, 2, 3, 6], [0, 1, 1, 2])
    assert found == pytest.approx({
        "ece": 100 * (0.05 + 0.75 + 0.65 + 0.5) / 4, "over_confidence": 100 * (2.85 - 1) / 4, "accuracy": 25,
        "confidence": 100 * 2.85 / 4, "confidence_on_wrong": 100 * 1.9 / 3, "wrong_above_70": 100 / 3, "wrong_above_90": 0,
        "nll": 3, "brier": 1,
    })
    assert set(found) == set(calibration.TOKEN_UNITS)
    assert ece([0.8, 0.8], [1, 0], bins=1) == pytest.approx(30)
    assert ece([1.0, 0.0], [1, 0]) == 0


def test_bins_are_closed_above():
    diagram = reliability([0.0, 0.2, 0.2001, 1.0], [1, 1, 0, 1], bins=5)
    assert [entry["count"] for entry in diagram] == [2, 1, 0, 0, 1]
    assert [(entry["low"], entry["high"]) for entry in diagram] == [(0, 0.2), (0.2, 0.4), (0.4, 0.6), (0.6, 0.8), (0.8, 1)]
    assert diagram[2]["confidence"] is None and diagram[2]["accuracy"] is None


def test_bad_arrays_are_refused():
    with pytest.raises(ValueError, match="one length"):
        ece([0.5, 0.5], [1])
    with pytest.raises(ValueError, match="between 0 and 1"):
        ece([0.5, float("nan")], [1, 0])


SPLITS = {"near": "in_domain", "far": "out_of_domain"}


def simulated(rng, sharper=1.0, utterances=40, tokens=20):
    """A model that is right with probability c, and says c ** (1 / sharper)."""
    rows = []
    for i in range(utterances):
        c = rng.beta(5, 1, tokens)
        right = rng.random(tokens) < c
        rows.append({
            "domain": "far" if i % 2 else "near", "id": str(i), "speaker": "s", "confidence": (c ** (1 / sharper)).tolist(),
            "right": right.astype(int).tolist(), "nll": (-np.log(c)).tolist(), "brier": ((1 - c) ** 2).tolist(),
        })
    return rows


def test_a_calibrated_model_is_not_called_over_confident():
    """Its interval of over-confidence holds 0 about 95 times of 100; the biased ECE's never does."""
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(100):
        rows = simulated(rng)
        found = report({"m": rows}, Draws(rows, 400, trial), SPLITS, [])["models"]["m"]["splits"]["all"]
        low, high = found["over_confidence"]["ci95"]
        covered += low <= 0 <= high
        assert found["ece"]["ci95"][0] > 0 and np.mean(found["ece"]["ci95"]) > found["ece"]["value"]
    assert 88 <= covered <= 99


def test_report():
    rng = np.random.default_rng(1)
    models = {"honest": simulated(rng), "bold": simulated(rng, sharper=4)}
    found = report(models, Draws(models["honest"], 1000), SPLITS, [("bold", "honest"), ("bold", "bold")])
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    bold = found["models"]["bold"]
    assert set(bold["splits"]) == set(bold["reliability"]) == {"in_domain", "out_of_domain", "all"}
    for split, chosen in (("all", models["bold"]), ("in_domain", models["bold"][::2])):
        arrays = {name: np.concatenate([row[name] for row in chosen]) for name in TOKENS}
        assert bold["splits"][split]["tokens"] == arrays["right"].size
        values = {name: bold["splits"][split][name]["value"] for name in found["units"]}
        assert values == pytest.approx(measures(**arrays), abs=1e-4)
        assert bold["reliability"][split] == reliability(arrays["confidence"], arrays["right"])
    rows = {(c["a"], c["b"], c["split"], c["measure"]): c for c in found["comparisons"]}
    assert len(rows) == 2 * 3 * len(found["units"])
    bolder = rows["bold", "honest", "all", "over_confidence"]
    assert bolder["ci95"][0] > 0 and bolder["p"] < 0.01
    value = {name: found["models"][name]["splits"]["all"]["over_confidence"]["value"] for name in models}
    assert bolder["delta"] == pytest.approx(value["bold"] - value["honest"], abs=2e-4)
    assert rows["bold", "bold", "all", "ece"]["ci95"] == [0, 0]  # paired: a model does not differ from itself


def test_resampled_ece_is_the_ece_of_the_resample():
    rows = simulated(np.random.default_rng(2), utterances=12)
    draws = Draws(rows, 20)
    sums = np.array([token_sums(row["confidence"], row["right"]) for row in rows])
    resampled = calibration.measures_of(draws.sums(sums)[1])["ece"]
    for weights, value in zip(draws.weights().astype(int), resampled, strict=True):
        again = [row for row, times in zip(rows, weights, strict=True) for _ in range(times)]
        confidence, right = (np.concatenate([row[name] for row in again]) for name in ("confidence", "right"))
        assert value == pytest.approx(ece(confidence, right))


def test_what_cannot_be_counted_is_none_and_other_utterances_are_refused():
    rows = simulated(np.random.default_rng(3), utterances=6)
    sure = [row | {"right": [1] * 20} for row in rows]
    found = report({"a": sure, "b": rows}, Draws(rows, 50), SPLITS, [("a", "b")])
    assert found["models"]["a"]["splits"]["all"]["confidence_on_wrong"] is None
    assert "confidence_on_wrong" not in {c["measure"] for c in found["comparisons"]}
    json.dumps(found, allow_nan=False)
    with pytest.raises(AskdError, match="b and a must have transcribed the same utterances"):
        report({"a": rows, "b": rows[1:]}, Draws(rows, 50), SPLITS, [])
    with pytest.raises(AskdError, match="the resamples are of 6 others"):
        report({"a": rows[1:]}, Draws(rows, 50), SPLITS, [])


def test_report_on_real_answers(tiny_en, clips, teacher_rows):
    splits = {clip.domain: "in_domain" for clip in clips}
    found = report({"teacher": teacher_rows}, Draws(teacher_rows, 200), splits, [])["models"]["teacher"]["splits"]["all"]
    assert 50 < found["accuracy"]["value"] < 100 and 0 < found["nll"]["value"] < 3
    assert found["tokens"] == sum(len(row["right"]) for row in teacher_rows)


# ---- word confidence


def heard(reference, hypothesis, log_probs=None, word_tokens=None, i=0, domain="near"):
    count = len(hypothesis.split())
    return {
        "domain": domain, "id": str(i), "speaker": "s", "reference": reference, "hypothesis": hypothesis, "seconds": 1.0,
        "ended": True, "log_probs": [-0.1] * (count + 1) if log_probs is None else log_probs,
        "word_tokens": [1] * count if word_tokens is None else word_tokens,
    }


def test_confidence_of_a_word_is_the_geometric_mean_of_its_tokens():
    row = heard("good day", "Good dog.", [np.log(0.9), np.log(0.5), np.log(0.32), 0.0], [1, 2])
    words, least = judged_words([row])[0], judged_words([row], "min")[0]
    np.testing.assert_allclose(words.confidence, [0.9, 0.4])
    np.testing.assert_allclose(least.confidence, [0.9, 0.32])
    assert words.right.tolist() == [True, False] and words.left_out == 0
    with pytest.raises(ValueError, match="mean or min"):
        judged_words([row], "median")


@pytest.mark.parametrize(
    ("reference", "hypothesis", "right", "left_out"),
    [
        ("it is good", "It's good.", [True, True], 0),  # one raw word is two words
        ("it was good", "It's good.", [False, True], 0),  # right only when both are
        ("it is good", "Um, it is good", [True, True, True], 1),  # a filler is no word
        ("we saw 23 dogs", "We saw twenty three dogs", [True, True, True], 2),  # two raw words are one, found by no partner
        ("the colour of 5 dollars", "The color of five dollars", [True, True, True], 2),  # "$5" is made of two
        ("go on", "(music) go on", [True, True], 1),
        ("go on", "", [], 0),
        ("", "Thank you.", [False, False], 0),
    ],
)
def test_raw_words_are_matched_with_normalised_ones(reference, hypothesis, right, left_out):
    words = judged_words([heard(reference, hypothesis)])[0]
    assert (words.right.tolist(), words.left_out) == (right, left_out)


def test_words_without_tokens_or_log_probs_are_left_out():
    words = judged_words([heard("go on", "go on", [-0.1, 0.0], [1, 0]), heard("go on", "go on", [], [])])
    assert [(len(w.right), w.left_out) for w in words] == [(1, 1), (0, 0)]
    foreign = {"domain": "near", "id": "a", "speaker": "s", "reference": "go on", "hypothesis": "go on"}
    assert [len(w.right) for w in judged_words([foreign, heard("go on", "go on")])] == [0, 2]
    for counts in ([1], [2, 9]):
        with pytest.raises(AskdError, match="u7: word_tokens do not fit"):
            judged_words([heard("go on", "go on", word_tokens=counts, i="u7")])


def test_real_words(decoded, clips):
    rows = [
        heard(clip.text, result.text, list(result.log_probs), list(result.word_tokens), clip.id)
        for clip, result in zip(clips[3:9], decoded, strict=True)
    ]
    words = judged_words(rows)
    for row, w in zip(rows, words, strict=True):
        assert len(w.right) + w.left_out == len(row["hypothesis"].split())
        assert ((w.confidence > 0) & (w.confidence <= 1)).all()
    assert sum(w.left_out for w in words) <= 0.2 * sum(len(w.right) for w in words)
    for row, w, least in zip(rows, words, judged_words(rows, "min"), strict=True):
        assert (least.confidence <= w.confidence + 1e-9).all()
        if w.left_out == 0 and max(row["word_tokens"], default=1) == 1:
            np.testing.assert_allclose(w.confidence, np.exp(row["log_probs"][: len(w.confidence)]))


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_auroc_agrees_with_sklearn_under_weights_and_ties(data):
    n = data.draw(st.integers(2, 30))
    confidence = np.array(data.draw(st.lists(st.sampled_from([0.1, 0.5, 0.9, 1.0]), min_size=n, max_size=n)))
    right = np.array([True, False, *data.draw(st.lists(st.booleans(), min_size=n - 2, max_size=n - 2))])
    utterance = np.array(data.draw(st.lists(st.integers(0, 4), min_size=n, max_size=n)))
    times = st.lists(st.integers(0, 3), min_size=5, max_size=5)
    weights = np.array(data.draw(st.lists(times, min_size=3, max_size=3)), np.float32)
    assert auroc(confidence, right)[0] == pytest.approx(roc_auc_score(right, confidence))
    for found, drawn in zip(auroc(confidence, right, utterance, weights), weights[:, utterance], strict=True):
        if (drawn * right).sum() == 0 or (drawn * ~right).sum() == 0:
            assert np.isnan(found)
        else:
            assert found == pytest.approx(roc_auc_score(right, confidence, sample_weight=drawn))


def test_auroc_of_ten_thousand_resamples_takes_seconds():
    rng = np.random.default_rng(0)
    right, utterance = rng.random(5000) < 0.85, np.sort(rng.integers(800, size=5000))
    weights = rng.poisson(1, (10_000, 800)).astype(np.float32)
    start = time.perf_counter()
    samples = auroc(rng.random(5000), right, utterance, weights)
    assert time.perf_counter() - start < 5
    assert np.mean(samples) == pytest.approx(0.5, abs=0.03)


def test_nce_closed_forms():
    right = np.array([1, 1, 1, 0])
    for constant, expected in ((0.75, 0.0), (0.5, 1 - 4 * np.log(2) / -(3 * np.log(0.75) + np.log(0.25)))):
        assert nce(information(np.full(4, constant), right), 4, 3) == pytest.approx(expected)
    assert nce(information(right, right), 4, 3) == pytest.approx(1, abs=1e-3)  # perfect, up to the floor
    assert nce(information(1 - right, right), 4, 3) < -10  # sure and wrong: far worse than knowing the accuracy
    assert np.isnan(nce(0.0, 4, 4)) and np.isnan(nce(0.0, 4, 0)) and np.isnan(nce(0.0, 0, 0))


def word_rows(rng, honest=True, utterances=40):
    """Ten words an utterance; a doubtful word is wrong half the time. An honest model doubts it, the other doubts any word."""
    rows = []
    for i in range(utterances):
        doubtful = rng.random(10) < 0.3
        wrong = doubtful & (rng.random(10) < 0.5)
        shown = doubtful if honest else rng.permutation(doubtful)
        log_probs = [float(x) for x in np.log(np.where(shown, 0.5, 0.99))] + [0.0]
        said = "alpha bravo charlie delta echo foxtrot golf hotel india juliet".split()
        hypothesis = " ".join("zulu" if w else word for w, word in zip(wrong, said, strict=True))
        rows.append(heard(" ".join(said), hypothesis, log_probs, i=i, domain="far" if i % 2 else "near"))
    return rows


def test_word_report():
    models = {"honest": word_rows(np.random.default_rng(0)), "blind": word_rows(np.random.default_rng(0), honest=False)}
    models["honest"][3] |= {"log_probs": [], "word_tokens": []}
    models["blind"][3] |= {"log_probs": [], "word_tokens": []}
    found = wordconfidence.report(models, Draws(models["honest"], 1000), SPLITS, [("honest", "blind"), ("blind", "blind")])
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    honest, blind = (found["models"][name]["splits"]["all"] for name in ("honest", "blind"))
    assert (honest["words"], honest["words_left_out"], honest["utterances_left_out"]) == (390, 0, 1)
    assert found["models"]["honest"]["splits"]["in_domain"]["words"] == 200
    assert set(found["units"]) <= set(honest)
    words = judged_words(models["honest"])
    confidence, right = (np.concatenate([getattr(w, name) for w in words]) for name in ("confidence", "right"))
    assert honest["auroc"]["value"] == pytest.approx(roc_auc_score(right, confidence), abs=1e-4)
    assert honest["auroc"]["ci95"][0] < honest["auroc"]["value"] < honest["auroc"]["ci95"][1]
    assert honest["ece"]["value"] == pytest.approx(ece(confidence, right), abs=1e-4)
    assert honest["nce"]["value"] > 0 > blind["nce"]["value"]
    assert blind["auroc"]["ci95"][0] < 0.5 < blind["auroc"]["ci95"][1]
    assert sum(entry["count"] for entry in found["models"]["honest"]["reliability"]["all"]) == 390
    rows = {(c["a"], c["split"], c["measure"]): c for c in found["comparisons"]}
    assert rows["honest", "all", "auroc"]["ci95"][0] > 0
    assert rows["blind", "all", "auroc"]["ci95"] == [0, 0]


def test_word_report_without_any_error_has_no_auroc():
    rows = [heard("go on", "Go on.", i=i) for i in range(5)]
    found = wordconfidence.report({"m": rows}, Draws(rows, 50), SPLITS, [("m", "m")])
    split = found["models"]["m"]["splits"]["in_domain"]
    assert split["auroc"] is None and split["nce"] is None and split["accuracy"]["value"] == 100
    json.dumps(found, allow_nan=False)
