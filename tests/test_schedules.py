"""Invariants of every schedule and of any curriculum: bounds, sums, ends, continuity, purity; what the recipes say."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from askd.curriculum import GATES, SELF_TEACHERS, Curriculum
from askd.divergences import DIVERGENCES
from askd.errors import AskdError, UnknownName
from askd.methods import DESCRIBED, MAIN, METHODS, TRAINING, get_method
from askd.pace import FIRST, Pace
from askd.schedules import SCHEDULES, get_schedule
from askd.trainconfig import TrainConfig

progress = st.floats(-0.5, 1.5, allow_nan=False)
weight = st.floats(0, 1, allow_nan=False)
decaying = [name for name in SCHEDULES if name != "constant"]


@st.composite
def curricula(draw) -> Curriculum:
    """Any curriculum that may be made, with weights that sum to one."""
    switch = draw(st.floats(0, 1))
    lambda_start, lambda_end = draw(weight), draw(weight)
    room = st.floats(0, 1 - lambda_end)
    schedule = draw(st.sampled_from(list(SCHEDULES)))
    return Curriculum(
        schedule, max(lambda_start, 0.01) if schedule == "adaptive" else lambda_start, lambda_end, switch, draw(room),
        draw(st.sampled_from(SELF_TEACHERS)), draw(st.sampled_from(GATES)), mu_start=draw(st.none() | room),
        self_schedule=draw(st.sampled_from([name for name in SCHEDULES if name != "adaptive"])),
        switch_by=draw(st.sampled_from(["step", "plateau"])),
        divergence=draw(st.sampled_from(list(DIVERGENCES))),
    )


@st.composite
def paces(draw) -> Pace:
    """What a run may have seen."""
    pace = Pace()
    for value in draw(st.lists(st.floats(0, 20), max_size=12)):
        pace.learnt(value)
    for i, value in enumerate(draw(st.lists(st.floats(0, 5), max_size=8))):
        pace.looked(value, (i + 1) / 10, patience=2)
    return pace


@pytest.mark.parametrize("name", SCHEDULES)
@given(a=progress, b=progress, start=weight, end=weight)
def test_monotone_and_bounded(name, a, b, start, end):
    schedule = get_schedule(name)
    first, second = schedule(min(a, b), start, end), schedule(max(a, b), start, end)
    assert min(start, end) <= first <= max(start, end)
    assert (second - first) * (end - start) >= -1e-12


@pytest.mark.parametrize("name", decaying)
@given(start=weight, end=weight)
def test_exact_at_both_ends(name, start, end):
    assert get_schedule(name)(0.0, start, end) == start
    assert get_schedule(name)(1.0, start, end) == end
    assert get_schedule(name)(7.0, start, end) == end


def test_known_values():
    assert get_schedule("linear")(0.25, 0.8, 0.0) == pytest.approx(0.6)
    assert get_schedule("cosine")(0.5, 0.8, 0.0) == pytest.approx(0.4)
    assert get_schedule("step")(0.49, 0.8, 0.0) == pytest.approx(0.6)
    assert get_schedule("sigmoid")(0.5, 0.8, 0.0) == pytest.approx(0.4)
    assert get_schedule("exponential")(0.5, 1.0, 0.0) == pytest.approx(1 / 11)  # (floor^.5 - floor) / (1 - floor)
    assert get_schedule("adaptive")(0.25, 0.8, 0.0) == pytest.approx(0.6)


@given(curriculum=curricula(), s=progress, pace=st.none() | paces())
def test_weights_sum_to_the_total_and_lie_in_the_unit_interval(curriculum, s, pace):
    weights = curriculum.weights(s, pace)
    assert sum(weights) == pytest.approx(curriculum.total)
    assert min(weights) >= 0 and max(weights) <= 1
    assert weights == curriculum.weights(s, pace)  # pure
    if curriculum.phase(s, pace) == "A":
        assert weights.self_teacher == 0
    assert sum(weights.without_self()) == pytest.approx(curriculum.total) and weights.without_self().self_teacher == 0
    assert curriculum.needs_teacher or weights.teacher == 0
    assert curriculum.needs_self_teacher or weights.self_teacher == 0


@given(curriculum=curricula(), a=st.floats(0, 1), b=st.floats(0, 1))
def test_the_teachers_weight_moves_one_way_within_phase_a(curriculum, a, b):
    first, second = sorted((a, b))
    if curriculum.phase(second) == "A":
        moved = curriculum.weights(second).teacher - curriculum.weights(first).teacher
        assert moved * (curriculum.lambda_end - curriculum.lambda_start) >= -1e-12


@pytest.mark.parametrize("schedule", decaying)
@given(switch=st.floats(0.05, 0.95), lambda_end=st.floats(0, 0.5), mu=st.floats(0, 0.5), pace=paces())
def test_the_teachers_weight_is_continuous_at_the_switch(schedule, switch, lambda_end, mu, pace):
    curriculum = Curriculum(schedule, 0.8, lambda_end, switch=switch, mu=mu, mu_start=0.0)
    before, after = curriculum.weights(switch * (1 - 1e-9), pace), curriculum.weights(switch, pace)
    allowed = 0.8 / 4 + 1e-6 if schedule == "step" else 1e-5  # a staircase takes its last step there
    assert before.teacher == pytest.approx(after.teacher, abs=allowed)
    assert after.teacher == lambda_end
    if schedule != "step":
        assert before == pytest.approx(after, abs=1e-5)  # all three, when the self-teacher starts from nothing


@given(st.floats(0, 0.599))
def test_phase_a_has_no_self_teacher(s):
    assert METHODS["askd"].phase(s) == "A"
    assert METHODS["askd"].weights(s).self_teacher == 0


# ---- what the run itself decides --------------------------------------------------------------------------------------


@given(values=st.lists(st.floats(0, 100), min_size=1, max_size=40), cut=st.integers(0, 40))
def test_the_closed_gap_never_falls_back_and_survives_a_resume(values, cut):
    pace, seen, again = Pace(), [], None
    for i, value in enumerate(values):
        if i == cut:
            again = Pace(**pace.state())
        pace.learnt(value)
        if again is not None:
            again.learnt(value)
        seen.append(pace.closed)
    assert seen == sorted(seen) and seen[0] >= 0 and seen[-1] <= 1
    assert again is None or again == pace


def test_the_closed_gap_of_a_divergence_that_halves():
    pace = Pace()
    for _ in range(FIRST):
        pace.learnt(4.0)
        assert pace.closed == 0
    for _ in range(200):
        pace.learnt(2.0)
    assert pace.closed == pytest.approx(0.5, abs=1e-6)
    curriculum = Curriculum("adaptive", 0.8, 0.0)
    assert curriculum.weights(0.1, pace).teacher == pytest.approx(0.4, abs=1e-6)
    assert curriculum.weights(0.1).teacher == 0.8  # without a run the gap counts as open
    assert curriculum.weights(0.525, pace).teacher == pytest.approx(0.4, abs=1e-6)  # halfway through the last quarter of phase A
    assert curriculum.weights(0.5625).teacher == pytest.approx(0.2)
    assert curriculum.weights(0.6, pace).teacher == 0.0


def test_a_plateau_ends_phase_a_once():
    curriculum, pace = Curriculum(switch=0.9, switch_by="plateau", patience=2), Pace()
    for s, dev_ce in ((0.1, 1.0), (0.2, 0.8), (0.3, 0.9), (0.4, 0.85), (0.5, 0.95)):
        pace.looked(dev_ce, s, curriculum.patience)
    assert pace.switched == 0.4
    assert [curriculum.phase(s, pace) for s in (0.39, 0.4, 0.95)] == ["A", "B", "B"]
    assert curriculum.weights(0.4, pace) == (0.5, 0, 0.5)
    by_step = replace(curriculum, switch_by="step")
    assert by_step.phase(0.5, pace) == "A"  # it does not look
    assert curriculum.phase(0.91, Pace()) == "B"  # at the switch at the latest
    assert Curriculum(switch=1.0, switch_by="plateau").phase(0.5, pace) == "B"


def test_annealing_scales_the_teacher_from_a_tenth_to_one():
    annealing = METHODS["annealing_kd"]
    assert annealing.scale(0.0) == pytest.approx(0.1) and annealing.scale(0.6) == annealing.scale(0.9) == 1
    assert annealing.scale(0.3) == pytest.approx(1 - (5.5 - 1) / 10)
    assert annealing.weights(0.3) == (0, 1, 0) and annealing.weights(0.6) == (1, 0, 0)
    assert METHODS["askd"].scale(0.3) == 1


# ---- the recipes ------------------------------------------------------------------------------------------------------


def test_methods_are_what_their_names_say():
    at = {name: method.weights for name, method in METHODS.items()}
    assert at["ce_only"](0.9) == at["label_smoothing"](0.1) == at["finetuned_teacher"](0.5) == (1, 0, 0)
    assert at["constant_kd"](0.99) == pytest.approx((0.2, 0.8, 0))
    assert at["distil_whisper_paper"](0.5) == pytest.approx((1.0, 0.8, 0))
    assert at["distil_whisper_code"](0.5) == pytest.approx((0.8, 1.0, 0))
    assert at["ps_kd"](0.0) == (1, 0, 0)
    assert at["ps_kd"](0.5) == pytest.approx((0.6, 0, 0.4))
    assert at["ps_kd"](1.0) == pytest.approx((0.2, 0, 0.8))
    assert at["decay_only"](0.3) == pytest.approx((0.6, 0.4, 0)) and at["decay_only"](0.8) == (1, 0, 0)
    assert at["self_kd_only"](0.3) == (1, 0, 0) and at["self_kd_only"](0.8) == (0.5, 0, 0.5)
    assert at["reversed"](0.0) == (1, 0, 0) and at["reversed"](1.0) == pytest.approx((0.2, 0.8, 0))
    assert at["askd"](0.0) == pytest.approx((0.2, 0.8, 0)) and at["askd"](0.6) == (0.5, 0, 0.5)
    assert METHODS["label_smoothing"].label_smoothing == 0.1 and METHODS["ps_kd"].self_temperature == 1
    assert TRAINING["finetuned_teacher"]["context"] == "full" and TRAINING["finetuned_teacher"]["decoder_layers"] is None


def test_who_needs_whom():
    teacher = {name for name, method in METHODS.items() if method.needs_teacher}
    own = {name for name, method in METHODS.items() if method.needs_self_teacher}
    assert teacher == {"constant_kd", "distil_whisper_paper", "distil_whisper_code", "annealing_kd", "decay_only", "reversed",
                       "askd"}
    assert own == {"ps_kd", "self_kd_only", "askd"}
    assert set(DESCRIBED) == set(METHODS) and set(MAIN) < set(METHODS) and set(TRAINING) < set(METHODS)


@pytest.mark.parametrize(("fields", "message"), [
    (dict(lambda_start=1.2), r"lambda_start must lie in \[0, 1\], not 1.2"),
    (dict(mu=-0.1), "mu must lie"),
    (dict(mu_start=math.nan), "mu_start must be a number"),
    (dict(lambda_end=0.8, mu=0.5), "leave -0.3 of total 1.0 for the label in phase B"),
    (dict(total=1.8), "leave 1.8 of total 1.8|leave 1.3 of total 1.8"),
    (dict(schedule="constant", lambda_start=0.8, lambda_end=0.8, switch=1.0, total=2.0), "leave 1.2 of total 2.0"),
    (dict(total=0), "total, the sum of the weights, must be positive"),
    (dict(self_temperature=0), "self_temperature must be positive"),
    (dict(patience=0), "patience must be a whole number of looks, at least 1"),
    (dict(schedule="adaptive", lambda_start=0), "lambda_start 0 never computes"),
    (dict(self_schedule="adaptive"), "self_schedule goes by time"),
    (dict(label_smoothing=1.0), r"label_smoothing must lie in \[0, 1\)"),
    (dict(self_temperature=math.inf), "self_temperature must be a number, not inf"),
    (dict(anneal=5), "divergence logit_mse"),
    (dict(label_smoothing="much"), "label_smoothing must be a number, not 'much'"),
])
def test_weights_that_do_not_fit_are_refused_at_construction(fields, message):
    with pytest.raises(AskdError, match=message):
        Curriculum(**fields)
    with pytest.raises(AskdError, match=message):
        TrainConfig(overrides=fields)


def test_unknown_names_list_the_known_ones():
    for field, known in (("schedule", "cosine"), ("self_schedule", "cosine"), ("gate", "argmax"), ("switch_by", "plateau"),
                         ("self_teacher", "previous_epoch"), ("divergence", "reverse_kl")):
        with pytest.raises(UnknownName, match=f"known are .*{known}"):
            Curriculum(**{field: "xyz"})
    with pytest.raises(UnknownName, match=r"did you mean 'askd'"):
        get_method("asdk")
    with pytest.raises(AskdError, match=r"unknown curriculum field lamda: known are schedule.*total"):
        TrainConfig(overrides={"lamda": 1})
