"""Hypothesis rows: what was written is read, and nothing that was cut or damaged passes in silence."""

import json
from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from askd.errors import AskdError, UnknownName
from askd.files import write_json
from askd.rows import json_lines, keep_rows, kept_rows, meta_path, read_rows, write_rows

ROW = {
    "domain": "mine", "id": "a.wav", "speaker": "ann", "reference": "Good morning.", "hypothesis": "Good mourning.",
    "seconds": 1.52, "log_probs": [-0.1, -1.3, -0.2, -0.01], "ended": True, "word_tokens": [1, 2],
}
ROWS = [ROW, ROW | {"id": "b.wav", "hypothesis": "Café crème — naïve?", "word_tokens": [1, 1, 0, 2]}, ROW | {"id": "c.wav"}]
JUDGED = {"confidence": [0.9, 0.5], "right": [1, 0], "nll": [0.1, 2], "brier": [0, 1]}
FORCED = {"domain": "mine", "id": "a", "speaker": "ann"} | JUDGED
SOUND = ROW | {"reference": "", "kind": "hum", "level_dbfs": None, "frames": "clip", "own": True}


def lines_of(*rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "h.jsonl"


def test_what_is_written_is_read(path):
    write_rows(path, ROWS)
    assert read_rows(path) == ROWS and path.read_bytes().endswith(b"\n")
    write_rows(path, ROWS[:1])
    assert read_rows(path) == ROWS[:1]


def test_a_write_that_fails_leaves_the_file_as_it_was(path):
    write_rows(path, ROWS)
    with pytest.raises(TypeError):
        write_rows(path, [ROW, {"id": object()}])
    assert read_rows(path) == ROWS and list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("promised", [False, True])
def test_cut_at_every_byte(path, capsys, promised):
    """Cut inside a line, or inside a letter: reported, and with partial the whole lines are used. Cut between two lines it is a
    whole file, unless its settings say how many rows there were."""
    content = lines_of(*ROWS).encode()
    ends = list(accumulate(len(line) + 1 for line in content.split(b"\n")[:-1]))
    if promised:
        write_json(meta_path(path), {"rows": len(ROWS)})
    for size in range(len(content) + 1):
        path.write_bytes(content[:size])
        whole = sum(end - 1 <= size for end in ends)
        between = size in ends or size + 1 in ends
        if whole == len(ROWS) or (between and not promised):
            assert read_rows(path) == ROWS[:whole]
            continue
        report = f"{whole + 1}: not a whole|{whole} rows, but 3 were|no rows"
        with pytest.raises(AskdError, match=report):
            read_rows(path)
        capsys.readouterr()
        if whole:
            assert read_rows(path, partial=True) == ROWS[:whole]
            assert f"{whole} whole line" in (said := capsys.readouterr().out) or f"{whole} rows" in said
        else:
            with pytest.raises(AskdError, match=r"no rows|nothing can be used"):
                read_rows(path, partial=True)


def test_the_report_says_how_many_lines_are_whole(path):
    path.write_text(lines_of(*ROWS)[:-20], encoding="utf-8")
    with pytest.raises(AskdError, match=r"h\.jsonl, line 3: not a whole JSON line .*the 2 whole lines before it.*--partial"):
        read_rows(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no rows"),
        (b"\n \n", "holds no rows"),
        (lines_of(ROW)[:-30].encode() + b"\n" + lines_of(ROWS[1]).encode(), "line 1: not a whole JSON line, and lines follow it"),
        (lines_of(ROW).encode() + b"[1, 2]\n", r"line 2: \[1, 2\] instead of a JSON object"),
        (lines_of(ROW).encode() + b"null\n", "line 2: null instead of a JSON object"),
        (b'{"id": ' + b"[" * 100_000 + b"\n" + lines_of(ROW).encode(), "line 1: not a whole JSON line"),
        (lines_of(ROW, ROW | {"id": "café"}).encode("latin-1"), "line 2: not UTF-8: byte 0xe9"),
        (lines_of(ROW, ROW | {"id": "café"}).encode("latin-1")[:-1], "line 2: not UTF-8: byte 0xe9"),
        (lines_of(ROW).encode("utf-16"), "line 1: not UTF-8: byte 0xff"),
        (lines_of({"id": "a", "text": "b"}).encode(), "line 1: no domain, reference, hypothesis: found id, text; needed"),
        (lines_of(*ROWS, ROW).encode(), r"line 4: a\.wav of domain mine is also in line 1"),
        *[
            (lines_of(ROWS[1], ROW | changed).encode(), f"line 2: {message}")
            for changed, message in [
                ({"id": 7}, "id must be text"),
                ({"reference": None, "ended": 1}, "reference must be text, ended must be true or false"),
                ({"hypothesis": ["a"]}, "hypothesis must be text"),
                ({"speaker": 3}, "speaker must be text"),
                ({"seconds": "1.5"}, "seconds must be a number, 0 or more"),
                ({"seconds": -1}, "seconds must be a number, 0 or more"),
                ({"log_probs": [-0.1, True]}, "log_probs must be a list of finite numbers"),
                ({"log_probs": [float("nan")]}, "log_probs must be a list of finite numbers"),
                ({"log_probs": {}}, "log_probs must be a list of finite numbers"),
                ({"word_tokens": [1, -1]}, "word_tokens must be a list of counts"),
                ({"word_tokens": [1, 1.0]}, "word_tokens must be a list of counts"),
                ({"word_tokens": [1]}, "word_tokens counts 1 words, but the hypothesis has 2"),
                ({"word_tokens": [3, 3]}, "word_tokens counts 6 tokens, but there are 4 log_probs"),
            ]
        ],
        (lines_of(FORCED | {"nll": [0.1]}).encode(), "confidence, right, nll, brier differ in length"),
        (lines_of(FORCED, FORCED | {"id": "b", "brier": "none"}).encode(), "line 2: brier must be a list of finite numbers"),
    ],
)
@pytest.mark.parametrize("partial", [False, True])
def test_what_is_wrong_is_named_with_its_line_whatever_partial_says(path, content, message, partial):
    path.write_bytes(content)
    with pytest.raises(AskdError, match=message):
        read_rows(path, partial)


def test_a_file_that_is_not_there(path):
    with pytest.raises(AskdError, match=r"h\.jsonl: cannot be read: No such file"):
        read_rows(path)
    with pytest.raises(AskdError, match="cannot be read: Is a directory"):
        read_rows(path.parent)


@pytest.mark.parametrize(
    "change",
    [lambda b: b"\xef\xbb\xbf" + b, lambda b: b.replace(b"\n", b"\r\n"), lambda b: b[:-1], lambda b: b"\n" + b + b"\n\n"],
    ids=["byte order mark", "line ends of Windows", "no final newline", "blank lines"],
)
def test_other_programs_may_write_it_a_little_differently(path, change):
    path.write_bytes(change(lines_of(*ROWS).encode()))
    assert read_rows(path) == ROWS


def test_older_and_shorter_rows(path):
    needed = {name: ROW[name] for name in ("domain", "id", "reference", "hypothesis")}
    long = ROW | {"id": "c", "log_probs": [], "word_tokens": []}
    path.write_text(lines_of(needed, needed | {"id": "b", "speaker": None}, long))
    assert [row["speaker"] for row in read_rows(path)] == ["a.wav", "b", "ann"]


def test_manifests_of_nemo_and_the_leaderboard(path):
    row = {"duration": 2.5, "text": "yes", "pred_text": "yeah"}
    path.write_text(lines_of(row | {"audio_filepath": "1.wav"}, row | {"audio_filepath": "2.wav"}))
    first = read_rows(path)[0]
    assert {name: first[name] for name in ("domain", "id", "speaker", "reference", "hypothesis", "seconds")} == {
        "domain": "h", "id": "1.wav", "speaker": "1.wav", "reference": "yes", "hypothesis": "yeah", "seconds": 2.5
    }


def test_rows_of_other_measurements(path):
    """Non-speech sounds are heard in two contexts; forced rows have no words of their own."""
    for kind, rows in {"nonspeech": [SOUND, SOUND | {"frames": "full"}], "forced": [FORCED]}.items():
        write_rows(path, rows)
        assert read_rows(path) == read_rows(path, False, kind) == rows
        with pytest.raises(AskdError, match=r"no reference|is also in line 1"):
            read_rows(path, kind="hypotheses")
    with pytest.raises(UnknownName, match="unknown kind of rows 'force'"):
        read_rows(path, kind="force")


def test_any_json_lines(path):
    path.write_text('{"a": 1}\n\n{"b": [2]}')
    assert list(json_lines(path)) == [(1, {"a": 1}), (3, {"b": [2]})]
    path.write_text("")
    assert list(json_lines(path)) == []


def test_rows_are_kept_with_what_they_depend_on(path, capsys):
    assert kept_rows(path, {"model": 1}) is None
    keep_rows(path, ROWS, {"model": 1, "sizes": (1, 2)}, ["d.wav: no sound"])
    assert kept_rows(path, {"model": 1, "sizes": [1, 2]}) == (ROWS, ["d.wav: no sound"])
    assert kept_rows(path, {"model": 2, "sizes": [1, 2]}) is None
    assert kept_rows(path, {"model": 1, "sizes": [1, 2]}, skip_bad=False) is None and capsys.readouterr().out == ""
    path.write_text(lines_of(*ROWS[:2]), encoding="utf-8")
    assert kept_rows(path, {"model": 1, "sizes": [1, 2]}) is None
    assert "2 rows, but 3 were written" in capsys.readouterr().out
    meta_path(path).write_text("{")
    assert kept_rows(path, {"model": 1, "sizes": [1, 2]}) is None


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damage_anywhere_is_an_error_in_words_or_harmless(tmp_path_factory, data):
    """A byte changed, or bytes lost or doubled: rows of the right types, or `AskdError`; never another error."""
    path = tmp_path_factory.mktemp("damage") / "h.jsonl"
    content = bytearray(lines_of(*ROWS).encode())
    at, upto = sorted(data.draw(st.tuples(*[st.integers(0, len(content))] * 2)))
    content[at:upto] = data.draw(st.one_of(st.binary(max_size=4), st.just(bytes(content[at:upto] * 2))))
    path.write_bytes(content)
    for partial in (False, True):
        try:
            rows = read_rows(path, partial)
        except AskdError:
            continue
        assert rows and all(isinstance(row[name], str) for row in rows for name in ("domain", "id", "reference", "hypothesis"))
