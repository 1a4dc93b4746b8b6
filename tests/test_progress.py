"""Bars are seen by people alone."""

import pytest

from askd.progress import progress_bar


@pytest.mark.parametrize(("told", "shown", "hidden"), [
    ("", True, False), ("0", True, False), ("", False, True), ("1", True, True), ("true", True, True), ("1", None, True),
    ("", None, True),
])
def test_a_bar_is_hidden_for_tests_and_where_nobody_asked(told, shown, hidden, monkeypatch, capsys):
    monkeypatch.setenv("TQDM_DISABLE", told)  # None: only on a terminal, which this is not
    assert list(progress_bar([1, 2], "count", shown, unit="number")) == [1, 2]
    assert (capsys.readouterr().err == "") == hidden
