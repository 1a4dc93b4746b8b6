"""`askd compare`: numbers by hand, what must not change them, what is shown, and what is refused."""

import argparse
import json
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from askd.commands import compare as command
from askd.compare import MEASURES, WIDTH, as_text, compare, hypotheses_file
from askd.decoding import transcribe
from askd.errors import AskdError, UnknownName
from askd.intervals import Draws, holm
from askd.rows import write_rows
from askd.scoring import domain_table, macro, scorer_name, word_errors

WORDS = "bravo charlie delta echo foxtrot golf hotel india juliet kilo".split()


def rows(domain: str, pairs, speaker: str = "s") -> list[dict]:
    """Rows of one domain from (reference, hypothesis)."""
    return [{"domain": domain, "id": f"{domain}-{i}", "speaker": f"{speaker}{i}", "reference": r, "hypothesis": h}
            for i, (r, h) in enumerate(pairs)]


def model(rate: float, seed: int, utterances: int = 40, domains=("neural_clean", "formant_clean", "asterisk_8khz", "mine")):
    """A model that mishears words, leaves some out and says some twice; the references do not depend on it."""
    rng, out = random.Random(seed), []
    for domain in domains:
        said = random.Random(domain)
        pairs = []
        for _ in range(utterances):
            words = said.choices(WORDS, k=said.randint(3, 12))
            heard = [heard for word in words for heard in rng.choice(([word, word], [], ["alpha"]))]
            pairs.append((" ".join(words), " ".join(heard if rng.random() < rate else words)))
        out += rows(domain, pairs)
    return out


def shown(reference: str, a: str, b: str) -> dict[str, str]:
    """What `as_text` shows of one utterance: ref, A and B, each put together from its lines."""
    found, name = {}, None
    for line in as_text(compare(rows("d", [(reference, a)]), rows("d", [(reference, b)]), 10), "a", "b").splitlines():
        if line.startswith("    ") and line[4] != " ":
            name, text = line[4:9].strip(), line[9:]
            found[name] = text
        elif name and line.startswith(" " * 9):
            found[name] += " " + line.strip()
        else:
            name = None
    return found


# numbers


def test_by_hand():
    """Domain one: 1 and 3 errors of 8 words; two: 2 and 0 of 4."""
    a = rows("one", [("a b c d", "a b c x"), ("e f g h", "e f g h")]) + rows("two", [("i j k l", "i j")])
    b = rows("one", [("a b c d", "a b"), ("e f g h", "e f g h h")]) + rows("two", [("i j k l", "i j k l")])
    found = compare(a, b, 200)
    one, two, mean = found["domains"]["one"], found["domains"]["two"], found["means"]["all"]
    assert (one["utterances"], one["words"]) == (2, 8) and (two["utterances"], two["words"]) == (1, 4)
    assert (one["wer"]["a"], one["wer"]["b"], one["wer"]["difference"]) == (12.5, 37.5, -25.0)
    assert (two["wer"]["a"], two["wer"]["b"], two["wer"]["difference"]) == (50.0, 0.0, 50.0)
    assert two["wer"]["ci95"] == [50.0, 50.0]  # a single utterance is in every resample
    assert (mean["wer"]["a"], mean["wer"]["b"], mean["wer"]["difference"]) == (31.25, 18.75, 12.5)
    assert (one["sub"]["a"], one["del"]["b"], one["ins"]["b"]) == (12.5, 25.0, 12.5)
    assert mean["del"]["difference"] == pytest.approx((-25 + 50) / 2)
    assert (two["cer"]["a"], two["cer"]["b"]) == (pytest.approx(100 * 4 / 7, abs=1e-3), 0)  # " k l" of "i j k l"
    assert found["scorer"] == scorer_name() and found["utterances"] == 3
    assert [u["id"] for u in found["changed"]["a_worse"]] == ["two-0"]
    assert [(u["id"], u["errors_a"], u["errors_b"]) for u in found["changed"]["b_worse"]] == [("one-0", 1, 2), ("one-1", 0, 1)]


def test_means_are_those_of_the_tables_and_intervals_those_of_the_draws():
    a, b = model(0.5, 1), model(0.3, 2)
    found = compare(a, b, 500, seed=7)
    declared = {"neural_clean": "in_domain", "formant_clean": "in_domain", "asterisk_8khz": "out_of_domain", "mine": None}
    assert {domain: row["split"] for domain, row in found["domains"].items()} == declared
    assert [found["means"][split]["domains"] for split in ("in_domain", "out_of_domain", "all")] == [2, 1, 4]
    tables = [domain_table(model_rows, declared) for model_rows in (a, b)]
    for split, row in found["means"].items():
        for rate in ("wer", "cer"):
            assert [row[rate]["a"], row[rate]["b"]] == pytest.approx([macro(table, rate)[split] for table in tables], abs=0.002)
    counts = [word_errors([r["reference"] for r in x], [r["hypothesis"] for r in x]) for x in (a, b)]
    draws = Draws(a, 500, 7)
    difference = draws.ratio(counts[0].errors, counts[0].words) - draws.ratio(counts[1].errors, counts[1].words)
    assert found["means"]["all"]["wer"]["ci95"] == difference.rounded()["ci95"]
    assert found["means"]["all"]["wer"]["p"] == round(difference.p_value(), 5)


def test_parts_make_the_whole():
    for row in compare(model(0.5, 1), model(0.3, 2), 50)["means"].values():
        for number in ("a", "b", "difference"):
            assert row["wer"][number] == pytest.approx(sum(row[part][number] for part in ("sub", "del", "ins")), abs=0.003)


def test_domains_are_adjusted_together():
    found = compare(model(0.5, 1), model(0.3, 2), 300)["domains"]
    assert {d: row["wer"]["p_holm"] for d, row in found.items()} == holm({d: row["wer"]["p"] for d, row in found.items()})
    assert any(row["wer"]["p_holm"] > row["wer"]["p"] for row in found.values())


def test_a_domain_without_words_has_no_difference_and_no_part_in_the_adjustment():
    a, b = model(0.5, 1, domains=["mine"]), model(0.1, 2, domains=["mine"])
    silence = rows("silence", [("", "thank you"), ("[noise]", "")]), rows("silence", [("", ""), ("", "")])
    alone, both = compare(a, b, 200), compare(a + silence[0], b + silence[1], 200)
    assert both["domains"]["silence"]["wer"] == {
        "a": None, "b": None, "difference": None, "ci95": None, "p": None, "p_holm": None,
    }
    assert both["domains"]["mine"] == alone["domains"]["mine"]
    assert both["means"]["all"]["wer"] == alone["means"]["all"]["wer"]
    assert [u["id"] for u in both["changed"]["a_worse"] if u["domain"] == "silence"] == ["silence-0"]
    text = as_text(both, "a", "b", 50)
    assert "**thank you**" in text and "(nothing)" in text
    only = as_text(compare(*silence, 50), "a", "b")
    assert "nan" not in only.lower() and "None" not in only


def test_the_other_way_round():
    a, b = model(0.5, 1), model(0.3, 2)
    there, back = compare(a, b, 200), compare(b, a, 200)
    for kind in ("domains", "means"):
        for name, row in there[kind].items():
            for measure in MEASURES:
                one, other = row[measure], back[kind][name][measure]
                assert (one["a"], one["b"], one["p"]) == (other["b"], other["a"], other["p"])
                assert one["difference"] == -other["difference"] and one["ci95"] == [-x for x in other["ci95"][::-1]]
    assert [u["id"] for u in there["changed"]["a_worse"]] == [u["id"] for u in back["changed"]["b_worse"]]


def test_a_model_and_itself():
    a = model(0.5, 1)
    found = compare(a, a, 100)
    assert found["changed"] == {"a_worse": [], "b_worse": []}
    for row in (*found["domains"].values(), *found["means"].values()):
        assert row["wer"]["difference"] == 0 and row["wer"]["ci95"] == [0, 0] and row["wer"]["p"] == 1
    text = as_text(found, "one", "two")
    assert "one and two do the same here" in text and "-0.00" not in text and "below 0.05: none" in text


def test_json_without_nan_and_the_same_again():
    a, b = model(0.5, 1) + rows("silence", [("", "x")]), model(0.3, 2) + rows("silence", [("", "")])
    found = compare(a, b, 100)
    assert json.loads(json.dumps(found, allow_nan=False)) == found == compare(a, b, 100)
    assert compare(a, b, 100, seed=1)["means"]["all"]["wer"]["ci95"] != found["means"]["all"]["wer"]["ci95"]


# the same utterances


def test_the_order_of_the_other_file_does_not_matter():
    a, b = model(0.5, 1), model(0.3, 2)
    mixed = random.Random(0).sample(b, len(b))
    assert compare(a, mixed, 100) == compare(a, b, 100)
    means = [compare(x, b, 100)["means"]["all"]["wer"]["difference"] for x in (a, a[::-1])]
    assert means[0] == means[1]


def test_what_only_one_of_them_has_is_left_out_and_said_first():
    a, b = model(0.5, 1), model(0.3, 2)
    found = compare(a[3:], b[:-2], 100)
    assert (found["utterances"], found["only_a"], found["only_b"]) == (155, 2, 3)
    assert found["domains"] == compare(a[3:-2], b[3:-2], 100)["domains"]
    assert as_text(found, "a", "b").startswith("LEFT OUT: utterances that only A has: 2; that only B has: 3\n\n")
    assert "LEFT OUT" not in as_text(compare(a, b, 10), "a", "b")


def test_the_same_id_in_two_domains_is_two_utterances():
    a = [row | {"id": "1"} for domain in "xy" for row in rows(domain, [("good day", "good")])]
    assert compare(a, a, 10)["utterances"] == 2


def test_refused():
    a, b = rows("x", [("good day", "good day")] * 3), rows("x", [("good day", "good")] * 3)
    with pytest.raises(AskdError, match=r"no utterance .* in common: domains of A are x; of B y"):
        compare(a, rows("y", [("good day", "good")]))
    with pytest.raises(AskdError, match="B: utterance x-1 of x is there more than once"):
        compare(a, [*b, b[1]])
    other = [b[0], b[1] | {"reference": "Good night."}, b[2] | {"reference": "bye"}]
    with pytest.raises(AskdError, match=r"utterance x-1 of x has two references, 'good day' and 'Good night\.'"):
        compare(a, other)
    assert compare(a, [b[0], b[1] | {"reference": "Good day!"}, b[2]], 10)["utterances"] == 3  # alike once normalised


# what is shown


def test_marks():
    found = shown("Please call me back on Monday.", "please call him back on Monday", "well please call me Monday Monday")
    assert found["ref"] == "please call me back on monday"
    assert found["A"] == "please call **him** back on monday"
    assert found["B"].startswith("**well** please call me") and found["B"].count("[") >= 1
    assert shown("good day", "", "good day") == {"ref": "good day", "A": "[good day]", "B": "good day"}
    assert shown("", "", "thank you") == {"ref": "(nothing)", "A": "(nothing)", "B": "**thank you**"}


@given(st.lists(st.sampled_from(WORDS[:5]), max_size=9), st.lists(st.sampled_from(WORDS[:5]), max_size=9))
def test_the_hypothesis_and_its_errors_can_be_read_off_the_marks(reference, hypothesis):
    counts = word_errors([" ".join(reference)], [" ".join(hypothesis)])
    if not counts.errors[0]:
        return
    found = shown(" ".join(reference), " ".join(hypothesis), " ".join(reference))["A"]
    if "(x" in found:
        return  # three times the same is written once: tested below
    written, missing, wrong, mark = [], 0, 0, ""
    for word in found.split():
        mark = "**" if word.startswith("**") else "[" if word.startswith("[") else mark
        bare = word.strip("*[]")
        missing += mark == "["
        wrong += mark == "**"
        written += [bare] * (mark != "[")
        mark = "" if word.endswith(("**", "]")) else mark
    assert written == hypothesis
    assert missing == counts.dele[0] and wrong == counts.sub[0] + counts.ins[0]


@pytest.mark.parametrize(
    ("phrase", "times"), [("thank you", 80), ("the", 3), ("he said it was not so and then he went all the way home", 9)]
)
def test_loops_are_written_once(phrase, times):
    found = shown("alpha bravo", f"alpha bravo {' '.join([phrase] * times)}", "alpha bravo")
    assert found["A"] == f"alpha bravo **{phrase} (x{times})**"


def test_of_a_long_text_only_the_surroundings_of_errors_are_shown():
    words = [a + b for a in "bcdfghjklmnprstvwz" for b in ("ab", "eb", "ib", "ob", "ub", "ak", "ek", "ik", "ok", "uk")]  # 180
    wrong = [*words[:90], "oops", *words[91:]]
    found = shown(" ".join(words), " ".join(wrong), " ".join(words[:-2]))
    around, end = words[86:95], words[174:]
    assert found["ref"] == " ".join(["...", *around, "...", *end])
    assert found["A"] == " ".join(["...", *around[:4], "**oops**", *around[5:], "...", *end])
    assert found["B"] == " ".join(["...", *around, "...", *end[:4], f"[{' '.join(end[4:])}]"])


def test_no_line_is_wider_than_the_page_and_no_utterance_longer_than_a_few_lines():
    rng = np.random.default_rng(0)
    long = [" ".join(rng.choice(WORDS, 300)) for _ in range(4)]
    a = model(0.9, 1) + rows("a_domain_with_quite_a_long_name_of_its_own", [(long[0], long[1]), (long[2], "x" * 500)])
    b = model(0.2, 2) + rows("a_domain_with_quite_a_long_name_of_its_own", [(long[0], long[3]), (long[2], "")])
    text = as_text(compare(a, b, 100), "one", "two", 200)
    assert max(map(len, text.splitlines())) <= WIDTH
    place = text.index("a_domain_with_quite_a_long_name_of_its_own, ")
    assert text[place:].split("\n  ")[1:] and text.count("**") > 100
    first = text[place:].split("\n")[1:]
    assert next(i for i, line in enumerate(first) if not line.startswith("    ")) <= 12


def test_as_many_utterances_as_asked_the_most_changed_first():
    found = compare(model(0.9, 1), model(0.2, 2), 50)
    worse = found["changed"]["a_worse"]
    assert len(worse) > 10
    by = [u["errors_a"] - u["errors_b"] for u in worse]
    assert by == sorted(by, reverse=True) and by[-1] > 0
    text = as_text(found, "a", "b", 3)
    assert f"utterances in which A has more errors than B: {len(worse)}, the first 3:" in text
    assert [u["id"] in text for u in worse[:4]] == [True, True, True, False]
    assert "    ref" not in as_text(found, "a", "b", 0)


def test_differences_of_single_domains_are_named_after_adjustment():
    perfect, bad = model(0.0, 1, domains=["neural_clean", "mine"]), model(1.0, 2, domains=["neural_clean", "mine"])
    half = perfect[:40] + bad[40:]
    text = as_text(compare(half, bad, 300), "half", "bad")
    assert "single domains, p Holm below 0.05: A has fewer errors in neural_clean" in text
    assert "mean in-domain: half makes fewer errors than bad" in text
    assert "mean out-of-domain" not in text  # no such domain


def test_two_real_models(tiny_en, clips):
    """tiny.en as it should be used, and on a context cut to the clip, where it is known to loop."""
    some, both = clips[:3], []
    for frames in ("model", None):
        results = transcribe(*tiny_en, [clip.samples() for clip in some], frames=frames, max_new_tokens=60)
        both.append([{"domain": c.domain, "id": c.id, "speaker": c.speaker, "reference": c.text, "hypothesis": r.text}
                     for c, r in zip(some, results, strict=True)])
    found = compare(*both, 500)
    assert found["means"]["in_domain"]["domains"] == 1
    assert found["means"]["all"]["wer"]["difference"] < 0 and found["means"]["all"]["ins"]["difference"] < 0
    text = as_text(found, "30 s", "cut")
    assert max(map(len, text.splitlines())) <= WIDTH and text.count("    ref") == len(found["changed"]["b_worse"])


# files and the command


@pytest.fixture
def run_folder(tmp_path):
    """A run with three models, two of them with the same name elsewhere."""
    for name, seed in (("teacher", 1), ("askd", 2), ("ce_only", 3)):
        write_rows(tmp_path / "run" / "results" / "hypotheses" / f"{name}.jsonl", model(0.2 * seed, seed, 10))
    write_rows(tmp_path / "scores" / "hypotheses" / "askd.jsonl", model(0.2, 2, 10))
    return tmp_path / "run"


def test_which_file_is_meant(run_folder, tmp_path):
    mine = run_folder / "results" / "hypotheses" / "askd.jsonl"
    assert hypotheses_file(str(mine)) == mine
    assert hypotheses_file(f"{run_folder}:askd") == mine
    assert hypotheses_file(str(tmp_path / "scores")) == tmp_path / "scores" / "hypotheses" / "askd.jsonl"
    assert hypotheses_file(f"{tmp_path / 'scores'}:askd") == tmp_path / "scores" / "hypotheses" / "askd.jsonl"
    odd = tmp_path / "a:b.jsonl"
    write_rows(odd, model(0.1, 1, 1))
    assert hypotheses_file(str(odd)) == odd


@pytest.mark.parametrize(
    ("name", "error", "says"),
    [("run", AskdError, "several models: say .*run:askd or .*run:ce_only or .*run:teacher"),
     ("run:asdk", UnknownName, r"unknown model of .*run 'asdk' \(did you mean 'askd'\?\): known are askd, ce_only, teacher"),
     ("nowhere", AskdError, "nowhere: no such file or folder; give a hypotheses file"),
     ("nowhere:askd", AskdError, "no such file or folder"), ("scores/hypotheses", AskdError, "has no hypotheses"),
     ("", AskdError, "no such file or folder")],
)
def test_files_that_are_not_there(run_folder, monkeypatch, name, error, says):
    monkeypatch.chdir(run_folder.parent)
    with pytest.raises(error, match=says):
        hypotheses_file(name)


def askd_compare(*words: object) -> None:
    """The command, from its words on."""
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    command.run(parser.parse_args([str(word) for word in words]))


def test_command(run_folder, capsys):
    askd_compare(f"{run_folder}:askd", f"{run_folder}:teacher", "--resamples", 50, "--changed", 1)
    text = capsys.readouterr().out
    assert text.startswith("jiwer") and "A = askd\nB = teacher\n" in text and text.count("    ref") == 2


def test_command_json(run_folder, capsys):
    words = (f"{run_folder}:askd", f"{run_folder}:teacher", "--json", "--resamples", 50, "--changed", 2, "--domain", "mine")
    askd_compare(*words)
    found = json.loads(capsys.readouterr().out)
    assert (found["a"], found["b"], list(found["domains"]), found["utterances"]) == ("askd", "teacher", ["mine"], 10)
    assert len(found["changed"]["a_worse"]) <= 2
    askd_compare(*words, "--seed", 3)
    assert json.loads(capsys.readouterr().out)["seed"] == 3


def test_models_of_the_same_name_are_told_apart_by_their_places(run_folder, tmp_path, capsys):
    askd_compare(f"{run_folder}:askd", tmp_path / "scores", "--resamples", 50)
    text = capsys.readouterr().out
    assert f"A = {run_folder}:askd\nB = {tmp_path / 'scores'}\n" in text


def test_a_cut_file_needs_partial(run_folder, capsys):
    file = run_folder / "results" / "hypotheses" / "askd.jsonl"
    file.write_bytes(file.read_bytes()[:-20])
    words = (file, f"{run_folder}:teacher", "--json", "--resamples", 50)
    with pytest.raises(AskdError, match=r"askd\.jsonl, line 40: .*--partial"):
        askd_compare(*words)
    capsys.readouterr()
    askd_compare(*words, "--partial")
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert (found["utterances"], found["only_a"], found["only_b"]) == (39, 0, 1)
    assert "line 40" in err


@pytest.mark.parametrize(
    ("words", "says"),
    [(("--domain", "mien"), "unknown domain 'mien' .did you mean 'mine'"), (("--resamples", 0), "--resamples must be at least 1"),
     (("--changed", -1), "--changed must be at least 0"), (("--seed", -1), "--seed must be at least 0")],
)
def test_options_that_cannot_be(run_folder, words, says):
    with pytest.raises(AskdError, match=says):
        askd_compare(f"{run_folder}:askd", f"{run_folder}:teacher", *words)
