"""Invariants of every schedule and of every method's curriculum."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from askd.curriculum import METHODS, Curriculum, get_method
from askd.errors import AskdError, UnknownName
from askd.schedules import SCHEDULES, get_schedule

progress = st.floats(-0.5, 1.5, allow_nan=False)
weight = st.floats(0, 1, allow_nan=False)
decaying = [name for name in SCHEDULES if name != "constant"]


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


@pytest.mark.parametrize("name", METHODS)
@given(s=progress)
def test_weights_sum_to_one_and_are_not_negative(name, s):
    weights = METHODS[name].weights(s)
    assert sum(weights) == pytest.approx(1)
    assert min(weights) >= 0


@given(s=st.floats(0, 0.599))
def test_phase_a_has_no_self_teacher(s):
    assert METHODS["askd"].phase(s) == "A"
    assert METHODS["askd"].weights(s).self_teacher == 0


def test_teacher_weight_is_continuous_at_the_switch():
    curriculum = Curriculum("linear", 0.8, 0.1, switch=0.6, mu=0.5)
    before, after = curriculum.weights(0.6 - 1e-9), curriculum.weights(0.6)
    assert before.teacher == pytest.approx(after.teacher, abs=1e-6)
    assert after == pytest.approx((0.4, 0.1, 0.5))


def test_methods_are_what_their_names_say():
    assert METHODS["ce_only"].weights(0.9) == (1, 0, 0)
    assert METHODS["constant_kd"].weights(0.99) == pytest.approx((0.2, 0.8, 0))
    assert METHODS["decay_only"].weights(0.3) == pytest.approx((0.6, 0.4, 0))
    assert METHODS["decay_only"].weights(0.8) == (1, 0, 0)
    assert METHODS["self_kd_only"].weights(0.3) == (1, 0, 0)
    assert METHODS["self_kd_only"].weights(0.8) == (0.5, 0, 0.5)
    assert METHODS["askd"].weights(0.0) == pytest.approx((0.2, 0.8, 0))
    assert METHODS["askd"].weights(0.6) == (0.5, 0, 0.5)
    assert [m for m, c in METHODS.items() if c.needs_teacher] == ["constant_kd", "decay_only", "askd"]
    assert [m for m, c in METHODS.items() if c.needs_self_teacher] == ["self_kd_only", "askd"]


def test_wrong_fields_are_named():
    with pytest.raises(UnknownName, match="known are"):
        Curriculum("lineal")
    with pytest.raises(AskdError, match="lambda_start"):
        Curriculum(lambda_start=1.2)
    with pytest.raises(AskdError, match="exceed 1"):
        Curriculum("constant", 0.8, 0.8, switch=0.5, mu=0.5)
    with pytest.raises(UnknownName, match="did you mean 'askd'"):
        get_method("asdk")
    with pytest.raises(UnknownName, match="gate"):
        Curriculum(gate="sometimes")
