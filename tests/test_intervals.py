"""Intervals against theory, scipy, a loop anybody can read, and what must not change them."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from askd.intervals import MIN_BLOCKS, Draws, Estimate, by_split, compared, holm, in_words


def say(difference, *words):
    """What is said of a difference with its own interval and p-value."""
    return in_words(difference.point, difference.ci(), *words, p=difference.p_value())


def rows(utterances: int, domain: str = "a", speakers: int | None = None) -> list[dict]:
    """Utterances of one domain, the speakers in turn; without ``speakers`` one for each utterance."""
    return [{"domain": domain, "speaker": f"s{i % (speakers or utterances)}"} for i in range(utterances)]


def counts(rng: np.random.Generator, n: int, rate: float) -> tuple[np.ndarray, np.ndarray]:
    """Errors and words of n utterances of 4 to 20 words."""
    words = rng.integers(4, 21, n)
    return rng.binomial(words, rate), words


# what a number is


def test_macro_pooled_scale_and_domains_by_hand():
    draws = Draws(rows(2, "a") + rows(1, "b") + rows(1, "c"), 50)
    errors, words = np.array([1, 0, 1, 6]), np.array([1, 1, 8, 4])
    assert draws.ratio(errors, words).point == pytest.approx((50 + 12.5 + 150) / 3)
    assert draws.ratio(errors, words, ["a", "b"]).point == pytest.approx(31.25)
    assert draws.ratio(errors, words, ["a", "b"], pooled=True).point == pytest.approx(20)
    assert draws.ratio(errors, words, ["b"], scale=1).point == pytest.approx(0.125)
    assert draws.sums(errors)[0].tolist() == [8] and draws.sums(errors, ["c"])[0].tolist() == [6]


def test_a_domain_without_words_is_left_out_of_the_mean():
    rng = np.random.default_rng(0)
    errors, words = counts(rng, 40, 0.2)
    alone = Draws(rows(40, "a"), 200).ratio(errors, words)
    draws = Draws(rows(40, "a") + rows(5, "silence"), 200)
    both = draws.ratio(np.append(errors, [3] * 5), np.append(words, [0] * 5))
    assert both.point == pytest.approx(alone.point) and np.allclose(both.samples, alone.samples)
    pooled = draws.ratio(np.append(errors, [3] * 5), np.append(words, [0] * 5), pooled=True)
    assert pooled.point == pytest.approx(100 * (errors.sum() + 15) / words.sum())  # but its errors count where all are pooled


@pytest.mark.parametrize("pooled", [False, True])
def test_nothing_to_count_is_undefined_and_says_so(pooled):
    found = Draws(rows(3), 100).ratio(np.ones(3), np.zeros(3), pooled=pooled)
    assert found.rounded() is None and found.p_value() == 1.0 and np.isnan(found.ci()).all()
    assert "nothing to count" in say(found - found, "A", "B")


def test_no_domain_is_undefined():
    assert Draws(rows(3), 10).ratio(np.ones(3), np.ones(3), domains=[]).rounded() is None


def test_resamples_without_a_word_do_not_spoil_the_interval():
    """Of two utterances one has no words: a quarter of the resamples holds that one alone and has no rate."""
    draws = Draws(rows(2), 4000)
    found = draws.ratio([1, 0], [4, 0])
    assert np.isnan(found.samples).mean() == pytest.approx(0.25, abs=0.03)
    assert found.ci() == (25.0, 25.0) and found.rounded() == {"value": 25.0, "ci95": [25.0, 25.0]}
    beside = Draws(rows(2, "a") + rows(6, "b"), 4000).ratio([1, 0, *[1] * 6], [4, 0, *[2] * 6])
    assert np.isfinite(beside.samples).all()  # domain b has a rate in all of them
    assert set(np.round(beside.samples, 6)) == {37.5, 50.0}


def test_json():
    draws = Draws(rows(30), 100)
    errors, words = counts(np.random.default_rng(0), 30, 0.3)
    found = draws.ratio(errors, words).rounded(2)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["ci95"][0] < found["value"] < found["ci95"][1]


# what a resample holds


def test_every_resample_has_as_many_blocks_of_every_domain():
    sizes = {"a": 7, "b": 30, "c": 1}
    draws = Draws([row for domain, n in sizes.items() for row in rows(n, domain)], 300)
    for domain, n in sizes.items():
        point, samples = draws.sums(np.ones(38), [domain])
        assert point.tolist() == [n] and (samples == n).all()
    assert (draws.weights().sum(1) == 38).all()
    assert not draws.weights(["a"])[:, 7:].any()


def test_utterances_are_drawn_alike_and_independently():
    """Counts are multinomial: mean 1, variance 1 - 1/n, covariance -1/n."""
    drawn = Draws(rows(20), 20_000).weights()
    covariance = np.cov(drawn.T)
    assert np.allclose(drawn.mean(0), 1, atol=0.04)
    assert np.allclose(np.diag(covariance), 1 - 1 / 20, atol=0.06)
    assert np.allclose(covariance[~np.eye(20, dtype=bool)], -1 / 20, atol=0.04)


@pytest.mark.parametrize(("speakers", "together"), [(MIN_BLOCKS, True), (MIN_BLOCKS - 1, False)])
def test_speakers_are_drawn_whole_where_there_are_enough(speakers, together):
    speaker = np.arange(8 * speakers) % speakers
    drawn = Draws(rows(8 * speakers, speakers=speakers), 200).weights()
    whole = all((drawn[:, speaker == s] == drawn[:, [s]]).all() for s in range(speakers))
    assert whole == together


def test_the_interval_of_whole_speakers_is_as_wide_as_theory_says():
    """Sixteen speakers, each all right or all wrong: p (1 - p) / speakers, not / utterances."""
    wrong = np.arange(320) % 16 < 4
    grouped = Draws(rows(320, speakers=16), 20_000).ratio(wrong, np.ones(320))
    single = Draws(rows(320), 20_000).ratio(wrong, np.ones(320))
    assert grouped.point == single.point == 25
    assert grouped.samples.std() == pytest.approx(100 * np.sqrt(0.25 * 0.75 / 16), rel=0.03)
    assert single.samples.std() == pytest.approx(100 * np.sqrt(0.25 * 0.75 / 320), rel=0.03)


def test_the_same_seed_gives_the_same_and_another_does_not():
    errors, words = counts(np.random.default_rng(0), 50, 0.2)
    found = [Draws(rows(50), 100, seed).ratio(errors, words).samples for seed in (1, 1, 2)]
    assert np.array_equal(found[0], found[1]) and not np.array_equal(found[0], found[2])


def test_a_further_domain_leaves_the_others_alone():
    errors, words = counts(np.random.default_rng(0), 60, 0.2)
    alone = Draws(rows(40, "a"), 100).ratio(errors[:40], words[:40])
    beside = Draws(rows(40, "a") + rows(20, "b"), 100).ratio(errors, words, ["a"])
    assert alone.point == beside.point and np.array_equal(alone.samples, beside.samples)


def test_where_the_utterances_of_a_domain_stand_does_not_matter():
    """The domains one after the other, or taking turns."""
    errors, words = counts(np.random.default_rng(0), 60, 0.2)
    apart, turns = rows(30, "a") + rows(30, "b"), np.arange(60).reshape(2, 30).T.ravel()
    one = Draws(apart, 100).ratio(errors, words)
    other = Draws([apart[i] for i in turns], 100).ratio(errors[turns], words[turns])
    assert np.allclose(one.samples, other.samples)


def test_no_resamples_are_refused():
    with pytest.raises(ValueError, match="at least one"):
        Draws(rows(3), 0)


@pytest.mark.parametrize("n", [5, 7, 12])
def test_values_of_other_utterances_are_refused(n):
    """Values that do not belong to the rows would give an interval that looks like any other."""
    draws = Draws(rows(6), 10)
    for ask in (lambda: draws.ratio(np.ones(n), np.ones(n)), lambda: draws.ratio(np.ones((2, n)), np.ones(n)),
                lambda: draws.sums(np.ones(n))):
        with pytest.raises(ValueError):
            ask()


# against others


def test_parity_with_scipy():
    errors, words = counts(np.random.default_rng(0), 80, 0.15)
    ours = Draws(rows(80), 10_000).ratio(errors, words)
    theirs = stats.bootstrap(
        (errors, words), lambda e, w, axis: 100 * e.sum(axis) / w.sum(axis), paired=True, vectorized=True, n_resamples=10_000,
        method="percentile", rng=np.random.default_rng(1),
    )
    assert ours.ci() == pytest.approx(tuple(theirs.confidence_interval), abs=0.05 * np.ptp(ours.ci()))
    assert ours.samples.std() == pytest.approx(theirs.standard_error, rel=0.03)


def test_parity_with_a_loop():
    """A macro difference over a domain of utterances and one of speakers, drawn one by one."""
    rng = np.random.default_rng(3)
    where = [*rows(25, "a"), *rows(48, "b", speakers=12)]
    a, words = counts(rng, 73, 0.3)
    b = rng.binomial(words, 0.2)
    draws = Draws(where, 10_000)
    ours = draws.ratio(a, words) - draws.ratio(b, words)
    blocks = {"a": np.arange(25)[:, None], "b": 25 + np.arange(48).reshape(4, 12).T}  # (blocks, utterances)
    slow = []
    for _ in range(5_000):
        of_domain = []
        for held in blocks.values():
            taken = np.concatenate([held[k] for k in rng.integers(len(held), size=len(held))])
            of_domain.append(100 * (a[taken].sum() - b[taken].sum()) / words[taken].sum())
        slow.append(np.mean(of_domain))
    spread = np.std(slow)
    assert ours.samples.mean() == pytest.approx(np.mean(slow), abs=0.06 * spread)
    assert ours.samples.std() == pytest.approx(spread, rel=0.05)
    assert ours.ci() == pytest.approx(tuple(np.percentile(slow, [2.5, 97.5])), abs=0.15 * spread)


def test_the_weights_are_the_resamples():
    errors, words = counts(np.random.default_rng(0), 50, 0.2)
    draws = Draws(rows(20, "a") + rows(30, "b", speakers=10), 200)
    pooled = draws.ratio(errors, words, pooled=True).samples
    assert np.allclose(pooled, 100 * (draws.weights() @ errors) / (draws.weights() @ words))
    samples = draws.sums(np.stack([errors, words], 1))[1]
    assert np.allclose(pooled, 100 * samples[:, 0] / samples[:, 1])
    halves = [draws.ratio(errors, words, [domain]).samples for domain in "ab"]
    assert np.allclose(draws.ratio(errors, words).samples, np.mean(halves, 0))


# differences


def test_a_model_does_not_differ_from_itself():
    draws = Draws(rows(30), 200)
    errors, words = counts(np.random.default_rng(0), 30, 0.2)
    same = draws.ratio(errors, words) - draws.ratio(errors.copy(), words)
    assert same.point == 0 and not same.samples.any() and same.ci() == (0, 0) and same.p_value() == 1


def test_a_difference_is_paired():
    """One more error in every ten words, whatever the utterances: no doubt about the difference, much about each model."""
    errors, words = counts(np.random.default_rng(0), 40, 0.3)
    draws = Draws(rows(40), 500)
    more = draws.ratio(errors + 0.1 * words, words) - draws.ratio(errors, words)
    assert more.ci() == pytest.approx((10, 10)) and np.ptp(draws.ratio(errors, words).ci()) > 3
    apart = Draws(rows(40), 500, seed=1).ratio(errors + 0.1 * words, words) - draws.ratio(errors, words)
    assert np.ptp(apart.ci()) > 3


def test_turning_a_difference_round_turns_its_interval_round():
    draws = Draws(rows(60), 500)
    rng = np.random.default_rng(0)
    (a, words), b = counts(rng, 60, 0.25), rng.integers(0, 4, 60)
    there, back = (draws.ratio(x, words) - draws.ratio(y, words) for x, y in ((a, b), (b, a)))
    assert back.ci() == pytest.approx(tuple(-x for x in there.ci()[::-1])) and back.p_value() == there.p_value()


def test_an_interval_covers_as_it_should():
    """Two domains, utterances of 4 to 20 words, two models with known rates: the interval holds the true macro difference."""
    rng = np.random.default_rng(0)
    where, trials, held = rows(80, "a") + rows(80, "b"), 400, 0
    truth = 100 * np.mean([0.30 - 0.25, 0.10 - 0.12])
    for trial in range(trials):
        parts = [(counts(rng, 80, one), two) for one, two in ((0.30, 0.25), (0.10, 0.12))]
        words = np.concatenate([w for (_, w), _ in parts])
        a = np.concatenate([e for (e, _), _ in parts])
        b = np.concatenate([rng.binomial(w, two) for (_, w), two in parts])
        draws = Draws(where, 400, trial)
        low, high = (draws.ratio(a, words) - draws.ratio(b, words)).ci()
        held += low <= truth <= high
    assert 0.92 <= held / trials <= 0.98  # 0.95 within 2.7 standard errors


def test_whole_speakers_cover_where_single_utterances_do_not():
    """A speaker's rate is his own; what new speakers would give is inside only when speakers are drawn."""
    rng = np.random.default_rng(0)
    held = np.zeros(2)
    for trial in range(200):
        rate = np.repeat(rng.beta(2, 6, 25), 20)  # mean 0.25
        errors, words = rng.binomial(10, rate), np.full(500, 10)
        for k, speaker in enumerate((np.arange(500) // 20, np.arange(500))):
            draws = Draws([{"domain": "a", "speaker": s} for s in speaker], 300, trial)
            low, high = draws.ratio(errors, words).ci()
            held[k] += low <= 25 <= high
    assert held[0] >= 0.88 * 200 and held[1] < 0.60 * 200


# p-values


def test_p_value_of_normal_samples():
    samples = np.random.default_rng(0).normal(2, 1, 200_000)
    assert Estimate(2, samples).p_value() == pytest.approx(2 * stats.norm.sf(2), rel=0.05)
    assert Estimate(-2, -samples).p_value() == Estimate(2, samples).p_value()


def test_no_p_value_is_zero_and_none_above_one():
    assert Estimate(1, np.ones(9999)).p_value() == pytest.approx(2 / 10_000)
    assert Estimate(0, np.zeros(9999)).p_value() == 1


@given(st.floats(-4, 4))
def test_p_and_interval_say_the_same(shift):
    found = Estimate(shift, shift + stats.norm.ppf(np.arange(1, 1000) / 1000))
    low, high = found.ci()
    if found.p_value() < 0.045:
        assert low > 0 or high < 0
    if found.p_value() > 0.055:
        assert low < 0 < high


def test_equal_models_are_rarely_told_apart():
    rng = np.random.default_rng(0)
    found = 0
    for trial in range(300):
        (a, words), draws = counts(rng, 60, 0.2), Draws(rows(60), 300, trial)
        found += (draws.ratio(a, words) - draws.ratio(rng.binomial(words, 0.2), words)).p_value() < 0.05
    assert 0.02 <= found / 300 <= 0.09


def test_a_wider_level_is_wider():
    found = Estimate(0, np.random.default_rng(0).normal(size=5000))
    assert found.ci(0.99)[0] < found.ci()[0] < found.ci(0.8)[0] < found.ci(0.8)[1] < found.ci()[1] < found.ci(0.99)[1]
    assert found.ci(0.8) == pytest.approx((-1.28, 1.28), abs=0.06)


# training seeds


def test_seeds_that_agree_add_nothing():
    draws = Draws(rows(40), 500)
    errors, words = counts(np.random.default_rng(0), 40, 0.2)
    one, three = draws.ratio(errors, words), draws.ratio(np.stack([errors] * 3), words)
    assert three.point == pytest.approx(one.point) and np.allclose(three.samples, one.samples)
    assert np.array_equal(draws.ratio(errors[None], words).samples, one.samples)


@pytest.mark.parametrize("rates", [(0.1, 0.3), (0.1, 0.2, 0.4), (0.10, 0.12, 0.20, 0.31, 0.33)])
def test_seeds_alone(rates):
    """Utterances that are all alike: what varies is the mean over seeds, by Student's t times s / sqrt(S)."""
    draws = Draws(rows(40), 40_000)
    found = draws.ratio(np.outer(rates, np.full(40, 10)), np.full(40, 10))
    assert found.point == pytest.approx(100 * np.mean(rates))
    s = len(rates)
    half = stats.t.ppf(0.975, s - 1) * 100 * np.std(rates, ddof=1) / np.sqrt(s)
    assert found.ci() == pytest.approx((found.point - half, found.point + half), abs=0.06 * half)


def test_seeds_and_utterances_add_up():
    """Where utterances decide, seeds widen the interval a little; where seeds do, it is theirs."""
    rng = np.random.default_rng(0)
    draws = Draws(rows(60), 20_000)
    words = rng.integers(4, 21, 60)

    def width(rates):
        errors = np.stack([rng.binomial(words, rate) for rate in rates])
        both = draws.ratio(errors, words)
        alone = Estimate(both.point, np.mean([draws.ratio(e, words).samples for e in errors], 0))
        return np.diff(both.ci())[0] / np.diff(alone.ci())[0]

    assert 1 <= width([0.25] * 5) < 2 < 5 < width((0.1, 0.25, 0.4))


@pytest.mark.parametrize("s", [2, 3, 5])
def test_intervals_over_seeds_hold_the_truth(s):
    """Seeds whose rates vary as much as utterances do, or ten times as much: 95 of 100 intervals hold the mean rate."""
    rng = np.random.default_rng(s)
    for spread in (0.02, 0.1):
        held, trials = 0, 300
        for trial in range(trials):
            draws = Draws(rows(60), 400, trial)
            errors = np.stack([rng.binomial(10, np.clip(rng.normal(0.4, spread), 0, 1), 60) for _ in range(s)])
            low, high = draws.ratio(errors, np.full(60, 10)).ci()
            held += low <= 40 <= high
        assert 0.90 <= held / trials <= 1.0


def test_methods_share_their_seeds():
    """A seed that is bad for both methods is no doubt about their difference."""
    words = np.full(50, 10)
    bad = np.array([0.5, 1.0, 3.0])[:, None] * np.ones(50)
    draws = Draws(rows(50), 500)
    more = draws.ratio(bad + 1, words) - draws.ratio(bad, words)
    assert more.ci() == pytest.approx((10, 10))


def test_seeds_may_have_denominators_of_their_own():
    """Words inserted of words written: the denominator is the hypothesis, which each seed has its own of."""
    draws = Draws(rows(4), 50)
    written = np.array([[10, 10, 10, 10], [20, 20, 20, 20]])
    assert draws.ratio(np.ones((2, 4)), written).point == pytest.approx((10 + 5) / 2)
    assert draws.ratio(np.ones(4), written).point == pytest.approx((10 + 5) / 2)


# many comparisons


def test_holm_by_hand():
    """Sorted .001 .007 .014 .031 .042 times 5 4 3 2 1 is .005 .028 .042 .062 .042; the last may not fall below .062."""
    found = holm({"a": 0.042, "b": 0.001, "c": 0.031, "d": 0.014, "e": 0.007})
    assert found == pytest.approx({"a": 0.062, "b": 0.005, "c": 0.062, "d": 0.042, "e": 0.028})
    assert list(found) == ["a", "b", "c", "d", "e"]
    assert holm({"a": 0.3, "b": 0.6}) == {"a": 0.6, "b": 0.6} and holm({"a": 0.9, "b": 0.8})["a"] == 1
    assert holm({"a": 0.02}) == {"a": 0.02} and holm({}) == {}


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.floats(0.001, 0.2))
def test_holm_rejects_what_its_procedure_rejects(p_values, level):
    """Holm (1979): go up from the smallest p, compare with level / (m - i), stop at the first that fails."""
    adjusted = holm(dict(enumerate(p_values)))
    for i, p in enumerate(p_values):
        assert p - 1e-12 <= adjusted[i] <= min(1, len(p_values) * p) + 1e-12
    rejected = set()
    for i, name in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        bound = level / (len(p_values) - i)
        if abs(p_values[name] - bound) < 1e-9:
            return  # on the border rounding decides
        if p_values[name] > bound:
            break
        rejected.add(name)
    assert rejected == {name for name, p in adjusted.items() if p <= level}


def test_real_and_synthetic_are_splits_where_there_are_both():
    names, splits = ["a", "b", "c"], {"a": "in_domain", "b": "out_of_domain", "c": "out_of_domain"}
    plain = by_split(names, splits)
    assert by_split(names, splits, ["a", "c", "elsewhere"]) == plain | {
        "real": ["a", "c"], "real_out_of_domain": ["c"], "synthetic": ["b"]}
    assert by_split(names, splits, ["a"]) == plain | {"real": ["a"], "synthetic": ["b", "c"]}
    assert by_split(names, splits, names) == by_split(names, splits, []) == plain


def test_splits_and_rows_of_comparisons():
    where = rows(20, "a") + rows(20, "b") + rows(20, "silence")
    splits = by_split(["a", "b", "silence"], {"a": "in_domain", "b": "out_of_domain", "silence": "out_of_domain"})
    assert splits == {"in_domain": ["a"], "out_of_domain": ["b", "silence"], "all": ["a", "b", "silence"]}
    draws, words = Draws(where, 300), np.r_[np.full(40, 10), np.zeros(20)]
    errors = {"x": np.r_[np.full(20, 2), np.full(20, 1), np.zeros(20)], "y": np.ones(60)}
    found = compared(lambda m, domains: draws.ratio(errors[m], words, domains), [("x", "y")], splits, "wer")
    assert [(row["split"], row["delta"]) for row in found] == [("in_domain", 10.0), ("out_of_domain", 0.0), ("all", 5.0)]
    assert found[0]["ci95"] == [10.0, 10.0] and found[0]["p"] == pytest.approx(2 / 301, abs=1e-5) and found[1]["p"] == 1
    assert compared(lambda m, domains: draws.ratio(errors[m], words, domains), [("x", "y")], {"s": ["silence"]}, "wer") == []


# in words


@pytest.mark.parametrize(
    ("low", "high", "says"),
    [(-3, -1, "A makes fewer errors than B (-2.00 points, 95 % CI [-3.00, -1.00])"),
     (1, 3, "A makes more errors than B (+2.00 points, 95 % CI [+1.00, +3.00])"),
     (-3, 1, "A and B cannot be told apart: between 3.00 points fewer and 1.00 more (-1.00, 95 % CI [-3.00, +1.00])"),
     (0, 0, "A and B do the same here (95 % CI [+0.00, +0.00])")],
)
def test_verdict(low, high, says):
    found = Estimate((low + high) / 2, np.r_[[low] * 100, (low + high) / 2, [high] * 100])
    assert say(found, "A", "B") == says == in_words(found.point, found.ci(), "A", "B")


def test_verdict_of_other_measures():
    found = say(Estimate(-2.0, np.full(99, -2.0)), "A", "B", "repeats less than", "repeats more than", "words", 1)
    assert found == "A repeats less than B (-2.0 words, 95 % CI [-2.0, -2.0])"


def test_an_interval_that_ends_at_zero_is_said_without_a_sign():
    """Errors in few utterances only: many resamples have no difference at all, and none has one the other way."""
    said = say(Estimate(1.0, np.r_[np.zeros(10), np.ones(90)]), "A", "B")
    assert said.startswith("A and B cannot be told apart: between 0.00 points fewer and 1.00 more")
