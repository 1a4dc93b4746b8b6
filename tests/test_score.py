"""A run scored again from its files: every report, every figure, no model; claims that can come out either way."""

import json
import random
import shutil
import subprocess
import sys

import pytest

from askd.claims import as_text, claims
from askd.cli import main
from askd.errors import AskdError, RunError
from askd.intervals import Draws
from askd.panel import panel, same_utterances
from askd.rows import write_rows
from askd.score import PARTS, make_reports, read_answers, score
from askd.wer import by_domain, cell, default_pairs, wer_report

WORDS = "the quick brown fox jumps over a lazy dog while seven green birds watch from their old stone wall".split()
DOMAINS = {"neural_clean": "in_domain", "formant_noise": "in_domain", "pocketsphinx": "out_of_domain"}


def said(domain: str, i: int) -> list[str]:
    return random.Random(f"{domain}{i}").choices(WORDS, k=8)


def hypothesis_rows(name: str, rate: float, copied: float, seed: int = 0, n: int = 30) -> list[dict]:
    """A model that gets ``rate`` of its words wrong and copies ``copied`` of the teacher's errors; these are 0.4 of all words."""
    rows = []
    for domain in DOMAINS:
        for i in range(n):
            reference, heard = said(domain, i), []
            for j, word in enumerate(reference):
                teacher, own = random.Random(f"t{domain}{i}{j}"), random.Random(f"{name}{seed}{domain}{i}{j}")
                of_teacher = teacher.choice(WORDS) if teacher.random() < 0.4 else word
                if name == "teacher" or (of_teacher != word and own.random() < copied):
                    heard.append(of_teacher)
                else:
                    heard.append(own.choice(WORDS) if own.random() < rate else word)
            rows.append({
                "domain": domain, "id": str(i), "speaker": f"v{i % 3}", "reference": " ".join(reference),
                "hypothesis": " ".join(heard), "seconds": 2.0, "log_probs": [-0.1] * 9, "ended": True, "word_tokens": [1] * 8,
            })
    return rows


def forced_rows(name: str, confidence: float) -> list[dict]:
    """Eight of ten tokens right, at a confidence of the model's own."""
    return [
        {"domain": d, "id": str(i), "speaker": f"v{i % 3}", "confidence": [confidence] * 10,
         "right": [int((i + j) % 5 > 0) for j in range(10)], "nll": [0.5] * 10, "brier": [0.4] * 10}
        for d in DOMAINS for i in range(30)
    ]


def nonspeech_rows(speaks: float, own: str) -> list[dict]:
    return [
        {"domain": "nonspeech", "id": f"{kind} {level}", "speaker": kind, "reference": "", "seconds": 1.0, "kind": kind,
         "hypothesis": "you" if random.Random(f"{kind}{level}").random() < speaks else "", "log_probs": [-0.5, -0.1],
         "ended": True, "level_dbfs": level, "frames": frames, "own": frames == own}
        for frames in ("clip", "full") for kind in "abcdefghijkl" for level in (-40.0, -20.0)
    ]


MODELS = {  # rate of own errors, share copied, confidence, share of sounds that get words
    "teacher": (0.0, 0.0, 0.8, 0.9), "ce_only": (0.1, 0.0, 0.8, 0.2), "constant_kd": (0.1, 0.5, 0.9, 0.8),
    "askd": (0.1, 0.1, 0.81, 0.2),
}


def make_run(folder, seed: int = 0, models=MODELS):
    for name, (rate, copied, confidence, speaks) in models.items():
        write_rows(folder / "results" / "hypotheses" / f"{name}.jsonl", hypothesis_rows(name, rate, copied, seed))
        write_rows(folder / "results" / "forced" / f"{name}.jsonl", forced_rows(name, confidence))
        write_rows(folder / "results" / "nonspeech" / f"{name}.jsonl",
                   nonspeech_rows(speaks, "full" if name == "teacher" else "clip"))
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def reports(run):
    return score(run, resamples=1000)


def test_every_report_and_figure_is_written(run, reports):
    assert set(reports) == set(PARTS)
    for name in PARTS:
        kept = json.loads((run / "results" / f"{name}.json").read_text())
        assert kept.pop("provenance")["machine"] and kept == json.loads(json.dumps(reports[name], allow_nan=False))
    figures = {p.stem for p in (run / "figures").glob("*.png")}
    assert figures == {"wer_by_domain", "in_and_out", "differences", "domain_differences", "inheritance", "hallucination",
                       "reliability", "nonspeech", "claims"}


def test_the_claims_say_what_the_models_do(reports):
    found = {claim["name"]: claim for claim in reports["claims"]["claims"]}
    assert list(found) == ["inheritance", "same_error", "over_confidence", "hallucination", "generalisation"]

    def test(name, a, b):
        return next(t for t in found[name]["tests"] if (t["a"], t["b"]) == (a, b))

    assert 30 < found["inheritance"]["models"]["constant_kd"]["value"] < 60
    assert "teacher" not in found["inheritance"]["models"]
    assert "copies more of the teacher's wrong words than" in test("inheritance", "constant_kd", "ce_only")["in_words"]
    mended = test("inheritance", "askd", "constant_kd")["in_words"]
    assert "ASKD copies fewer of the teacher's wrong words than constant KD" in mended
    assert "constant KD errs more in the teacher's way than CE only" in test("same_error", "constant_kd", "ce_only")["in_words"]
    tests = [t for claim in found.values() for t in claim["tests"]]
    assert len(tests) == 15 and all(t["p"] <= t["p_holm"] <= min(1, 15 * t["p"] + 1e-4) for t in tests)
    assert found["over_confidence"]["models"]["constant_kd"]["value"] == pytest.approx(10)
    assert "promises less, for its accuracy, than" in test("over_confidence", "askd", "constant_kd")["in_words"]
    assert "answers fewer wordless sounds than" in test("hallucination", "askd", "constant_kd")["in_words"]
    assert "do the same here" in test("hallucination", "askd", "ce_only")["in_words"]
    assert found["generalisation"]["models"]["askd"]["ci95"][1] < 0
    text = as_text(reports["claims"])
    assert "over-confidence, points" in text and "constant KD" in text and "nan" not in text


def test_claims_are_left_out_without_their_report(reports):
    assert [c["name"] for c in claims({"wer": reports["wer"]})["claims"]] == ["generalisation"]
    assert claims({}) == {"claims": []} and "None" not in as_text({"claims": []})


def test_scoring_again_changes_nothing_and_needs_no_model(run, reports, tmp_path):
    """In a process of its own, with an empty cache: not a weight, not a clip is touched, transformers' models not imported."""
    shutil.copytree(run / "results", tmp_path / "again" / "results", ignore=shutil.ignore_patterns("*.json"))
    code = (
        "import sys; from askd.score import score; score(sys.argv[1], resamples=1000, figures=False); "
        "print('transformers' in sys.modules, 'askd.teacher' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code, str(tmp_path / "again")], capture_output=True, text=True, check=True,
                         env={"ASKD_CACHE": str(tmp_path / "cache"), "PATH": "", "HOME": str(tmp_path)})
    assert out.stdout.split() == ["False", "False"]
    assert not (tmp_path / "cache").exists()
    for name in PARTS:
        again = json.loads((tmp_path / "again" / "results" / f"{name}.json").read_text())
        again.pop("provenance")
        assert again == json.loads(json.dumps(reports[name]))


def test_parts_and_the_claims_that_draw_on_earlier_parts(run, tmp_path):
    shutil.copytree(run / "results", tmp_path / "results", ignore=shutil.ignore_patterns("*.json"))
    assert set(score(tmp_path, parts=("wer", "blindspots"), resamples=200, figures=False)) == {"wer", "blindspots", "claims"}
    later = score(tmp_path, parts=("calibration",), resamples=200, figures=False)
    assert {c["name"] for c in later["claims"]["claims"]} == {"inheritance", "same_error", "over_confidence", "generalisation"}
    assert sorted(p.stem for p in (tmp_path / "results").glob("*.json")) == ["blindspots", "calibration", "claims", "wer"]


def test_seeds_are_combined(run, tmp_path):
    second = make_run(tmp_path / "second", seed=1)
    with pytest.raises(RunError, match="given twice"):
        score([run, run], tmp_path / "both")
    one = score(run, tmp_path / "one", resamples=500, figures=False)
    both = score([run, second], tmp_path / "both", resamples=500, figures=False)
    assert both["wer"]["seeds"] == 2 and both["wer"]["models"]["teacher"]["seeds"] == 1
    entry = both["wer"]["models"]["askd"]["domains"]["pocketsphinx"]
    assert entry["utterances"] == 30 and entry["words"] == 2 * 30 * 8
    assert entry["wer"] == pytest.approx(100 * entry["errors"] / entry["words"], abs=1e-3)
    wider = [r["blindspots"]["models"]["askd"]["splits"]["all"]["excess"]["ci95"] for r in (one, both)]
    assert wider[1][1] - wider[1][0] != wider[0][1] - wider[0][0]
    for own in (None, run):
        with pytest.raises(AskdError, match="--out"):
            score([run, second], own)
    (second / "results" / "hypotheses" / "askd.jsonl").unlink()
    with pytest.raises(RunError, match=r"askd is in 1 of 2 runs \(hypotheses\)"):
        score([run, second], tmp_path / "both")
    rows = hypothesis_rows("teacher", 0, 0)
    write_rows(second / "results" / "hypotheses" / "teacher.jsonl", [row | {"hypothesis": "x " * 8} for row in rows])
    with pytest.raises(RunError, match="different teachers"):
        score([run, second], tmp_path / "both")


def test_a_file_that_was_cut(run, tmp_path, capsys):
    shutil.copytree(run / "results", tmp_path / "results")
    before = (tmp_path / "results" / "wer.json").read_bytes()
    path = tmp_path / "results" / "hypotheses" / "askd.jsonl"
    path.write_bytes(path.read_bytes()[:-50])
    assert main(["score", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "askd.jsonl, line 90" in error and "--partial" in error
    arguments = ["score", str(tmp_path), "--partial", "--resamples", "100", "--no-figures"]
    assert main(arguments) == 2 and "--out" in capsys.readouterr().err  # the run's own results stay
    assert main([*arguments, "--out", str(tmp_path / "part")]) == 0
    assert "partial: 89 of 90 utterances are in all of 8 files" in capsys.readouterr().out
    assert not (tmp_path / "results" / "part").exists() and (tmp_path / "results" / "wer.json").read_bytes() == before
    reports = {name: json.loads((tmp_path / "part" / "results" / f"{name}.json").read_text()) for name in PARTS}
    assert {m["domains"]["pocketsphinx"]["utterances"] for m in reports["wer"]["models"].values()} == {29}
    assert all(report["partial"] == {"used": 89, "of": 90} for report in reports.values())
    path.write_text("")
    assert main([*arguments, "--out", str(tmp_path / "part")]) == 2 and "holds no rows" in capsys.readouterr().err


def test_what_evaluate_wrote_is_scored_too(tmp_path, capsys):
    write_rows(tmp_path / "hypotheses" / "tiny.jsonl", hypothesis_rows("tiny", 0.2, 0.0))
    assert main(["score", str(tmp_path), "--resamples", "100"]) == 0
    out = capsys.readouterr().out
    assert "jiwer" in out and "macro all" in out and "wer.json" in out
    assert not (tmp_path / "blindspots.json").exists() and (tmp_path / "figures" / "in_and_out.png").is_file()


def test_nothing_to_score(run, tmp_path, capsys):
    assert main(["score", str(tmp_path)]) == 2
    assert "holds no hypotheses" in capsys.readouterr().err
    assert main(["score", str(tmp_path / "nowhere")]) == 2 and "no such folder" in capsys.readouterr().err
    assert main(["score", str(run), "--resamples", "0"]) == 2 and "--resamples must be at least 1" in capsys.readouterr().err
    write_rows(tmp_path / "hypotheses" / "tiny.jsonl", hypothesis_rows("tiny", 0.2, 0.0))
    assert main(["score", str(tmp_path), "--only", "calibration"]) == 2
    error = capsys.readouterr().err
    assert "left out: calibration: no forced" in error and "nothing to score" in error


def test_a_measurement_that_was_interrupted_does_not_stop_the_others(run, tmp_path):
    shutil.copytree(run / "results", tmp_path / "results", ignore=shutil.ignore_patterns("*.json"))
    (tmp_path / "results" / "forced" / "askd.jsonl").unlink()
    (tmp_path / "results" / "nonspeech" / "teacher.jsonl").unlink()
    found = score(tmp_path, resamples=100, figures=False)
    assert set(found) == set(PARTS) and "askd" not in found["calibration"]["models"]
    shutil.rmtree(tmp_path / "results" / "forced")
    names = {claim["name"] for claim in score(tmp_path, resamples=100, figures=False)["claims"]["claims"]}
    assert "over_confidence" not in names  # calibration.json of before is no report of what is there now


def test_answers_of_other_weights_are_not_mixed(run, tmp_path):
    shutil.copytree(run / "results", tmp_path / "results", ignore=shutil.ignore_patterns("*.json"))
    for kind, weights in (("hypotheses", "a"), ("forced", "b")):
        (tmp_path / "results" / kind / "askd.meta.json").write_text(json.dumps({"weights": weights}))
    with pytest.raises(RunError, match="askd in forced/ and in hypotheses/ are not the same weights"):
        score(tmp_path, resamples=10, figures=False)


def test_what_was_compared_stays_compared(tmp_path):
    rows = {name: hypothesis_rows(name, rate, 0.0) for name, rate in (("small", 0.1), ("big", 0.3), ("third", 0.2))}
    for name, mine in rows.items():
        write_rows(tmp_path / "hypotheses" / f"{name}.jsonl", mine)
    before = wer_report(rows, [("big", "small")], resamples=50)
    (tmp_path / "wer.json").write_text(json.dumps(before))
    after = score(tmp_path, parts=("wer",), resamples=50, figures=False)["wer"]
    assert after == json.loads(json.dumps(before)) and list(after["models"]) == ["small", "big", "third"]
    assert default_pairs(rows) == [("big", "small"), ("third", "small")]


def test_declared_splits_are_kept(tmp_path):
    """A distillation on one's own data knows what it trained on; its wer.json says so, and scoring again believes it."""
    rows = [row | {"domain": "mine"} for row in hypothesis_rows("askd", 0.2, 0.0)[:30]]
    write_rows(tmp_path / "results" / "hypotheses" / "student.jsonl", rows)
    (tmp_path / "results" / "wer.json").write_text(json.dumps(wer_report({"student": rows}, splits={"mine": "in_domain"})))
    assert read_answers([tmp_path]).splits == {"mine": "in_domain"}
    assert score(tmp_path, parts=("wer",), resamples=50, figures=False)["wer"]["models"]["student"]["macro"]["in_domain"] > 0


def test_wer_report_by_hand():
    rows = [{"domain": d, "id": "1", "speaker": "s", "reference": "a b c d", "hypothesis": h}
            for d, h in (("neural_clean", "a b c x"), ("pocketsphinx", "a b"))]
    right = [row | {"hypothesis": row["reference"]} for row in rows]
    report = wer_report({"teacher": rows, "askd": right}, resamples=100)
    assert report["models"]["teacher"]["macro"] == {"in_domain": 25.0, "out_of_domain": 50.0, "all": 37.5, "real": 50.0,
                                                    "real_out_of_domain": 50.0, "synthetic": 25.0}
    assert report["models"]["teacher"]["macro_ci95"]["real"] == [50.0, 50.0]
    assert report["models"]["teacher"]["macro_cer"]["in_domain"] == pytest.approx(100 / 7, abs=1e-3)
    assert [(c["a"], c["b"], c["split"], c["delta"]) for c in report["comparisons"]] == [
        ("askd", "teacher", split, delta) for split, delta in (
            ("in_domain", -25.0), ("out_of_domain", -50.0), ("all", -37.5), ("real", -50.0), ("real_out_of_domain", -50.0),
            ("synthetic", -25.0))]
    recorded = [row | {"domain": "mine"} for row in rows]  # not declared: people speak, and nobody else
    assert set(wer_report({"a": [recorded[0]]}, resamples=10)["models"]["a"]["macro"]) == {"in_domain", "out_of_domain", "all"}
    assert [(c["domain"], c["delta"], c["p_holm"]) for c in report["domain_comparisons"]] == [
        ("neural_clean", -25.0, 1.0), ("pocketsphinx", -50.0, 1.0)]  # one utterance proves nothing
    assert "too few utterances to tell ASKD from the teacher" in report["comparisons"][0]["in_words"]
    header, lines = by_domain(report)
    assert header == ["domain", "teacher", "ASKD"] and lines[0] == ["neural_clean", "25.0 [25.0, 25.0]", "0.0 [0.0, 0.0]"]
    assert lines[1][0] == "* pocketsphinx" and lines[-1][0] == "macro all"
    assert cell(float("-0.04"), [-0.04, 0.0], signed=True).startswith("-0.0")


def test_models_on_other_utterances_are_refused(run):
    rows = hypothesis_rows("askd", 0.1, 0.1)
    for other in (rows[1:], rows[::-1], [r | {"reference": "x"} for r in rows]):
        with pytest.raises(AskdError, match="must have transcribed the same utterances"):
            same_utterances({"teacher": rows, "askd": other})
    with pytest.raises(AskdError, match="the resamples are of 90 others"):
        same_utterances({"askd": rows[:30]}, Draws(rows, 10))


def test_a_pair_that_is_not_there_is_named(reports):
    with pytest.raises(AskdError, match="unknown model 'kd'"):
        panel({"askd": []}, None, {}, [("askd", "kd")])


def test_reports_without_a_teacher(run):
    answers = read_answers([run])
    answers.hypotheses.pop("teacher")
    assert set(make_reports(answers, ("wer", "blindspots"), 50)) == {"wer", "claims"}
