"""Sounds without a word are what they claim to be, and answers to them are counted right."""

import json
import math

import numpy as np
import pytest
from scipy.signal import periodogram, welch
from scipy.stats import kurtosis

import askd.nonspeech
from askd.decoding import use_clip_context
from askd.errors import AskdError, UnknownName
from askd.nonspeech import answers, report, words
from askd.rows import read_rows
from askd.sounds import FULL, KINDS, LEVELLED, LEVELS_DBFS, sound, sounds, standard_sounds

RATE_HZ = 16_000


def dbfs(samples):
    return 10 * np.log10(np.mean(samples.astype(np.float64) ** 2))


def of(kind, level=-20.0, audio_s=10.0, seed=0):
    return sound(kind, level, audio_s, seed).samples.astype(np.float64)


def share_between(samples, low_hz, high_hz):
    """Share of the power between two frequencies."""
    hz, power = periodogram(samples, RATE_HZ)
    return power[(hz >= low_hz) & (hz <= high_hz)].sum() / power.sum()


def envelope(samples, frame=320):
    return np.sqrt(np.mean(samples[: len(samples) // frame * frame].reshape(-1, frame) ** 2, axis=1))


def test_levels_are_what_they_claim_and_nothing_clips():
    made = sounds(list(LEVELLED), LEVELS_DBFS, [1.0, 3.0, 10.0, 30.0])
    assert len(made) == len(LEVELLED) * 3 * 4 and len(LEVELLED) >= 10
    for one in made:
        assert one.samples.dtype == np.float32 and one.samples.shape == (round(one.audio_s * RATE_HZ),)
        assert np.isfinite(one.samples).all() and np.abs(one.samples).max() <= 1
        assert dbfs(one.samples) == pytest.approx(one.level_dbfs, abs=0.05)


def test_many_seeds_do_not_clip():
    for kind in LEVELLED:
        for seed in range(40):
            assert np.abs(of(kind, -20, 1.0, seed)).max() <= 1, (kind, seed)


def test_level_changes_nothing_but_the_level():
    for kind in LEVELLED:
        np.testing.assert_allclose(of(kind, -20, 1.0), 100 * of(kind, -60, 1.0), rtol=1e-5, atol=1e-7)


def test_silence_and_dither():
    silent, dither = sound("silence", None, 3.0), sound("dither", None, 3.0)
    assert not silent.samples.any() and silent.level_dbfs is None
    steps = dither.samples * 2**15
    assert set(np.unique(steps)) == {-1, 0, 1} and abs(np.mean(steps == 0) - 0.75) < 0.01
    assert dbfs(dither.samples) == pytest.approx(dither.level_dbfs, abs=0.1)
    assert [s.id for s in sounds(["silence", "dither"], [-60, -40], [1, 2.5])] == [
        "silence 1 s", "silence 2.5 s", "dither -96.3 dBFS 1 s", "dither -96.3 dBFS 2.5 s",
    ]


@pytest.mark.parametrize(("kind", "db_per_octave"), [("white", 0), ("pink", -3.01), ("brown", -6.02)])
def test_the_slope_of_noise(kind, db_per_octave):
    hz, density = welch(of(kind, audio_s=30.0), RATE_HZ, nperseg=8192)
    chosen = (hz > 60) & (hz < 7000)
    octaves = np.log2(hz[chosen])
    # even weight to each octave: the mean over a tenth of an octave
    bins = np.floor(octaves * 10)
    points = np.array([[octaves[bins == b].mean(), 10 * np.log10(density[chosen][bins == b].mean())] for b in np.unique(bins)])
    assert np.polyfit(*points.T, 1)[0] == pytest.approx(db_per_octave, abs=0.15)


@pytest.mark.parametrize(("kind", "peaks_hz"), [("tone_440", [440]), ("tone_1000", [1000]), ("dial_tone", [350, 440])])
def test_tones_peak_at_their_frequencies(kind, peaks_hz):
    for hz in peaks_hz:
        assert share_between(of(kind), hz - 1, hz + 1) == pytest.approx(1 / len(peaks_hz), abs=0.01)


def test_hum_is_mains_and_harmonics():
    hum = of("hum")
    lines = [share_between(hum, 50 * k - 1, 50 * k + 1) for k in range(1, 11)]
    assert sum(lines) > 0.999
    np.testing.assert_allclose(lines, np.array([1 / k**2 for k in range(1, 11)]) * lines[0], rtol=0.01)


def test_siren_sweeps_between_500_and_1500_hz():
    siren = of("siren", audio_s=4.0)
    strongest = [200 * np.argmax(np.abs(np.fft.rfft(siren[i : i + 80] * np.hanning(80)))) for i in range(0, len(siren) - 80, 80)]
    assert share_between(siren, 450, 1550) > 0.99 and min(strongest) <= 600 and max(strongest) >= 1400


def test_dtmf_dials_digits_of_two_tones():
    dialled, digits = of("dtmf", audio_s=10.0), set()
    for slot in dialled.reshape(-1, RATE_HZ // 5):
        on, off = slot[: RATE_HZ // 10], slot[RATE_HZ // 10 :]
        assert not off[1:-1].any()
        spectrum = np.abs(np.fft.rfft(on * np.hanning(len(on)), RATE_HZ))  # bins of 1 Hz
        low, high = int(np.argmax(spectrum[600:1075])) + 600, int(np.argmax(spectrum[1075:1600])) + 1075
        row, column = (min(known, key=lambda f, hz=hz: abs(f - hz)) for hz, known in
                       ((low, (697, 770, 852, 941)), (high, (1209, 1336, 1477))))
        assert abs(low - row) <= 3 and abs(high - column) <= 3
        digits.add((row, column))
    assert len(digits) >= 6


def test_chords_are_major_triads_and_one_minor():
    played = of("chords", audio_s=2.0).reshape(4, -1)
    for chord, steps in zip(played, [(4, 7), (3, 7), (4, 7), (4, 7)], strict=True):
        spectrum = np.abs(np.fft.rfft(chord * np.hanning(len(chord)), 8 * RATE_HZ))  # bins of 1/8 Hz
        found = []
        for _ in range(3):  # the three fundamentals are the strongest
            peak = int(np.argmax(spectrum))
            found.append(peak / 8)
            spectrum[max(0, peak - 64) : peak + 64] = 0
        root, *others = sorted(found)
        np.testing.assert_allclose([12 * math.log2(hz / root) for hz in others], steps, atol=0.3)


def test_clicks_breath_wind_and_fan():
    clicks = of("clicks")
    assert kurtosis(clicks) > 8 > kurtosis(of("white")) + 7
    onsets = np.flatnonzero((envelope(clicks, 80)[1:] > 0.1) & (envelope(clicks, 80)[:-1] < 0.02))
    assert 45 <= len(onsets) <= 50
    steady, swelling = envelope(of("white")), envelope(of("breath"))
    loud, quiet = (np.percentile([swelling, steady], q, axis=1) for q in (90, 10))
    assert loud[0] > 4 * quiet[0] and loud[1] < 1.5 * quiet[1]
    assert share_between(of("breath"), 290, 5010) > 0.99
    assert share_between(of("wind"), 15, 610) > 0.99
    fan = of("fan", audio_s=30.0)
    assert share_between(fan, 0, 3100) > 0.99
    beat_hz, power = periodogram(envelope(fan, 80) - envelope(fan, 80).mean(), RATE_HZ / 80)
    assert 15 <= beat_hz[np.argmax(power)] <= 40


def test_the_same_arguments_give_the_same_sound():
    np.random.seed(1)
    state = np.random.get_state()[1].copy()
    for kind in KINDS:
        first, again, other = (sound(kind, -40, 1.0, seed).samples for seed in (0, 0, 1))
        np.testing.assert_array_equal(first, again)
        assert np.array_equal(first, other) == (kind == "silence")
    np.testing.assert_array_equal(np.random.get_state()[1], state)


def test_panels():
    full, small = standard_sounds("full"), standard_sounds("small")
    assert len(full) == 64 and {s.kind for s in full} == set(KINDS) and len({s.id for s in full}) == 64
    assert len(small) == 8 and max(s.audio_s for s in small) <= 2
    table = [(level, audio_s) for _, level, audio_s in FULL if level is not None]
    by_level = [[audio_s for level, audio_s in table if level == wanted] for wanted in LEVELS_DBFS]
    assert all(14 <= len(lengths) + 4 <= 24 for lengths in by_level)
    for lengths in by_level:  # no level has mostly long or mostly short sounds
        assert all(4 <= lengths.count(audio_s) <= 5 for audio_s in (1, 3, 10, 30))
    with pytest.raises(UnknownName, match="full, small"):
        standard_sounds("large")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("pinkk", -40, 1.0), "unknown kind of sound 'pinkk' .did you mean 'pink'"),
        (("pink", -40, 30.1), "pink of 30.1 s: give more than 0 and at most 30 s"),
        (("pink", -40, 0.0), "pink of 0 s"),
        (("tone_440", -3.0, 1.0), "tone_440 of 1 s at -3.0 dBFS: give at most -4, else it clips"),
        (("tone_440", None, 1.0), "at None dBFS: give at most -4"),
        (("tone_440", float("nan"), 1.0), "at nan dBFS: give at most -4"),
    ],
)
def test_impossible_sounds_are_refused(arguments, message):
    with pytest.raises(AskdError, match=message):
        sound(*arguments)


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("", []), ("[BLANK_AUDIO]", []), ("(music)", []), ("[Music] (upbeat)", []), ("♪♪", []), ("...", []), (". . . . .", []),
        ("um", []), ("you", ["you"]), ("Thank you.", ["thank", "you"]), ("Okay...", ["okay"]), ("♪ la la ♪", ["la", "la"]),
        ("50%", ["50%"]),
    ],
)
def test_what_counts_as_an_answer(written, found):
    assert words(written) == found


def test_real_answers_are_kept_and_read_back(tiny_en, tmp_path, monkeypatch, capsys):
    asked = [sound("silence", None, 1.0), sound("tone_440", -20, 2.0)]
    path = tmp_path / "nonspeech" / "tiny.en.jsonl"
    rows = answers(*tiny_en, asked, path, max_new_tokens=12)
    assert [(r["id"], r["frames"], r["own"]) for r in rows] == [
        (s.id, frames, frames == "full") for frames in ("clip", "full") for s in asked
    ]
    for r, one in zip(rows, asked * 2, strict=True):
        assert (r["kind"], r["speaker"], r["level_dbfs"], r["seconds"]) == (one.kind, one.kind, one.level_dbfs, one.audio_s)
        assert r["domain"] == "nonspeech" and r["reference"] == "" and 1 <= len(r["log_probs"]) <= 12
        assert r["ended"] or len(r["log_probs"]) == 12
    # what Whisper is known for, and why this is measured: it answers silence
    assert words(rows[2]["hypothesis"]) and rows[2]["kind"] == "silence"
    alone = answers(*tiny_en, asked[:1], frames=["clip"], max_new_tokens=12)[0]
    assert alone["hypothesis"] == rows[0]["hypothesis"]  # the longer sounds beside it did not widen its context
    np.testing.assert_allclose(alone["log_probs"], rows[0]["log_probs"], atol=1e-3)

    found = report({"tiny.en": rows, "again": [rows, rows]}, [("tiny.en", "again")], resamples=200)
    json.dumps(found, allow_nan=False)
    assert found["sounds"] == found["kinds"] == 2 and set(found["models"]["tiny.en"]) == {"clip", "full", "own"}
    assert found["models"]["tiny.en"]["own"] == found["models"]["tiny.en"]["full"]
    assert all(c["delta"] == 0 for c in found["comparisons"])

    monkeypatch.setattr(askd.nonspeech, "transcribe", None)  # nothing below may be heard again
    assert answers(*tiny_en, asked, path, max_new_tokens=12) == json.loads(json.dumps(rows)) == read_rows(path)
    for other in (dict(max_new_tokens=13), dict(frames=["clip"], max_new_tokens=12)):
        with pytest.raises(TypeError, match="NoneType"):
            answers(*tiny_en, asked, path, **other)
    with pytest.raises(TypeError, match="NoneType"):
        answers(*tiny_en, [asked[0], sound("tone_440", -20, 2.0, seed=1)], path, max_new_tokens=12)
    path.write_text(path.read_text()[:-30])
    with pytest.raises(TypeError, match="NoneType"):  # a damaged file is made anew, and said to be
        answers(*tiny_en, asked, path, max_new_tokens=12)
    assert "tiny.en.jsonl, line 4: not a whole JSON line" in capsys.readouterr().out


def test_thirty_seconds_are_heard_once_and_a_student_has_its_own_context(toy, tiny_en, monkeypatch):
    use_clip_context(toy)
    calls, heard = [], askd.nonspeech.transcribe
    monkeypatch.setattr(
        askd.nonspeech, "transcribe", lambda m, p, samples, *rest: calls.append(len(samples)) or heard(m, p, samples, *rest)
    )
    asked = [sound("white", -40, 30.0), sound("white", -40, 1.0), sound("hum", -40, 1.0)]
    rows = answers(toy, tiny_en.processor, asked, max_new_tokens=3)
    assert calls == [1, 2, 2]  # 30 s, and twice both of 1 s
    assert rows[0] | {"frames": "full", "own": False} == rows[3] and rows[0]["own"]
    assert [r["own"] for r in rows] == [True] * 3 + [False] * 3
    with pytest.raises(UnknownName, match="clip, full"):
        answers(toy, tiny_en.processor, asked, frames=["own"])


def answer(kind, text, level=-40.0, seconds=1.0, frames="full", own=True, ended=True, log_probs=(-1.0, -1.0)):
    return {
        "domain": "nonspeech", "id": f"{kind} {level} {seconds}", "speaker": kind, "reference": "", "hypothesis": text,
        "seconds": seconds, "log_probs": list(log_probs), "ended": ended, "kind": kind, "level_dbfs": level, "frames": frames,
        "own": own,
    }


def test_report_of_hand_counted_answers():
    rows = [
        answer("white", "You", log_probs=(0.0, -2.0)),  # exp(-1)
        answer("white", "Thank you.", level=-20.0, log_probs=(0.0, 0.0, 0.0)),  # 1
        answer("white", "[BLANK_AUDIO]", seconds=10.0, log_probs=(0.0, 0.0)),
        answer("hum", "you"),  # exp(-1)
        answer("hum", ". . . .", level=-20.0, ended=False),
        answer("silence", "", level=None),
        answer("silence", "you you you you", level=None, seconds=10.0, ended=False, log_probs=(-0.5, -0.5)),
        answer("hum", "", seconds=10.0),
    ]
    found = report({"m": rows}, [], resamples=300)
    full = found["models"]["m"]["full"]
    assert full["non_empty_share"]["value"] == 50.0 and full["cut_share"]["value"] == 25.0
    assert full["mean_words"]["value"] == (1 + 2 + 1 + 4) / 8
    assert full["confidence"]["value"] == pytest.approx((2 * math.exp(-1) + 1 + math.exp(-0.5)) / 4, abs=1e-3)
    assert full["frequent"] == [["you", 2], ["thank you", 1], ["you you you you", 1]]
    assert full["by_kind"] == {
        "white": {"share": 66.7, "sounds": 3}, "hum": {"share": 33.3, "sounds": 3}, "silence": {"share": 50.0, "sounds": 2},
    }
    assert full["by_level"] == {
        "-40": {"share": 50.0, "sounds": 4}, "-20": {"share": 50.0, "sounds": 2}, "none": {"share": 50.0, "sounds": 2},
    }
    assert full["by_length"] == {"1": {"share": 60.0, "sounds": 5}, "10": {"share": 33.3, "sounds": 3}}
    assert full["non_empty_share"]["ci95"][0] < 50 < full["non_empty_share"]["ci95"][1]
    seeds = report({"m": [rows, [r | {"hypothesis": ""} for r in rows]]}, [], resamples=300)["models"]["m"]["full"]
    assert seeds["non_empty_share"]["value"] == 25.0 and seeds["by_kind"]["silence"] == {"share": 25.0, "sounds": 2}


def both(kinds, speaks, own, count=3):
    """Answers of a model in both contexts; ``speaks`` (kind, context) -> whether it says something."""
    return [
        answer(kind, "you" if speaks(kind, frames) else "", level=-40.0 - i, frames=frames, own=frames == own)
        for frames in ("clip", "full") for kind in kinds for i in range(count)
    ]


def test_contexts_are_told_apart_and_own_is_each_models_own():
    kinds = [f"kind {i}" for i in range(12)]
    teacher = both(kinds, lambda kind, frames: True, "full")
    student = both(kinds, lambda kind, frames: frames == "full" or kind in kinds[:3], "clip")
    found = report({"teacher": teacher, "askd": student}, [("askd", "teacher")], resamples=500)
    shares = {name: {c: v["non_empty_share"]["value"] for c, v in m.items()} for name, m in found["models"].items()}
    assert shares == {"teacher": {"clip": 100, "full": 100, "own": 100}, "askd": {"clip": 25, "full": 100, "own": 25}}
    deltas = {(c["split"], c["measure"]): c for c in found["comparisons"]}
    assert deltas["full", "non_empty_share"]["delta"] == 0 and deltas["full", "non_empty_share"]["ci95"] == [0, 0]
    own = deltas["own", "non_empty_share"]
    assert own["delta"] == -75 and -100 <= own["ci95"][0] < -75 < own["ci95"][1] < -40 and own["p"] < 0.02
    # kinds are the blocks: by sounds, three of a kind alike would pass for three
    as_sounds = [[r | {"speaker": r["id"]} for r in rows] for rows in (teacher, student)]
    finer = report(dict(zip(("teacher", "askd"), as_sounds, strict=True)), [("askd", "teacher")], resamples=500)
    narrow = next(c for c in finer["comparisons"] if (c["split"], c["measure"]) == ("own", "non_empty_share"))
    assert np.ptp(own["ci95"]) > 1.3 * np.ptp(narrow["ci95"])


def test_a_model_that_is_silent_has_no_confidence_and_other_sounds_are_refused():
    quiet = both(["a", "b"], lambda kind, frames: False, "clip")
    loud = both(["a", "b"], lambda kind, frames: True, "clip")
    found = report({"quiet": quiet, "loud": loud}, [("quiet", "loud")], resamples=50)
    json.dumps(found, allow_nan=False)
    assert found["models"]["quiet"]["clip"]["confidence"] is None and found["models"]["quiet"]["clip"]["frequent"] == []
    assert not [c for c in found["comparisons"] if c["measure"] == "confidence"]
    with pytest.raises(AskdError, match="other and quiet must have transcribed the same"):
        report({"quiet": quiet, "other": both(["a", "c"], lambda kind, frames: True, "clip")}, [])
    with pytest.raises(AskdError, match="must have transcribed the same"):
        report({"quiet": quiet, "half": [r for r in quiet if r["frames"] == "clip"]}, [])
