"""Methods x seeds: what is scored, what is left out and why, what one may say of it."""

import json
import os

import jiwer
import numpy as np
import pytest
from ablation_folders import DOMAINS, add_student, add_transcripts, make, report, rows_of

from askd.ablation import ablate
from askd.ablationfiles import hypotheses_path, seed_folder
from askd.ablationreport import POINTS, ablation_pairs, curve
from askd.ablationtables import (
    TOLD,
    ablation_domains,
    ablation_sentences,
    ablation_table,
    means,
    over,
    shared_sources,
    worst_real_domain,
)
from askd.cli import main
from askd.errors import AskdError, RunError
from askd.files import only_writer, read_json, write_json
from askd.methods import METHODS
from askd.runs import Run

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture
def made(tmp_path):
    """Three methods, two seeds, as `askd ablate` leaves them."""
    return make(tmp_path)


def test_what_is_in_ablation_json(made, drawn):
    found = report(made)
    kept = json.loads((made / "results" / "ablation.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    assert kept == json.loads(json.dumps(found))
    assert found["methods"] == ["ce_only", "constant_kd", "askd"] and found["seeds"] == [0, 1] and found["left_out"] == []
    assert {"commit", "changed", "machine", "settings"} == set(found["provenance"]) and found["runs"] == ["seed-0", "seed-1"]
    assert found["trained"] == [{"commit": "abc", "changed": False, "machine": {"gpu": "H100"}}]
    assert "seed" not in found["settings"] and found["curricula"]["askd"]["switch"] == 0.6
    assert found["train_s"]["askd"] == [100.0, 100.0]
    for name in ("wer", "blindspots", "hallucination"):
        assert "provenance" in read_json(made / "results" / f"{name}.json")
    assert {p.stem for p in (made / "figures").iterdir()} == {"ablation_wer", "ablation_terms", "ablation_dev_wer"}
    for name in ("ce_only", "constant_kd", "askd"):
        for measures, wanted in (("inheritance", "excess"), ("hallucination", "insertion_rate")):
            low, high = found[measures][name]["all"][wanted]["ci95"]
            assert low <= found[measures][name]["all"][wanted]["value"] <= high


def test_error_rates_are_jiwers(made):
    """Of each domain and seed, their means over seeds, and macros over real and synthetic domains."""
    found = report(made)["wer"]
    for name, seeds in (("askd", (0, 1)), ("teacher", (0,))):
        model, means = found[name], {}
        for domain in DOMAINS:
            rates = []
            for seed in seeds:
                mine = [r for r in rows_of(name, seed) if r["domain"] == domain]
                rates.append(100 * jiwer.wer([r["reference"] for r in mine], [r["hypothesis"] for r in mine]))
            entry, means[domain] = model["domains"][domain], np.mean(rates)
            assert entry["per_seed"] == pytest.approx(rates, abs=2e-3) and entry["wer"] == pytest.approx(means[domain], abs=2e-3)
            assert entry["real"] == (domain == "pocketsphinx") and entry["ci95"][0] <= entry["wer"] <= entry["ci95"][1]
        inside, outside = DOMAINS[:2], DOMAINS[2:]
        for split, its in {"in_domain": inside, "out_of_domain": outside, "all": DOMAINS, "real": DOMAINS[3:],
                           "real_out_of_domain": DOMAINS[3:], "synthetic": DOMAINS[:3]}.items():
            assert model["macro"][split]["value"] == pytest.approx(np.mean([means[d] for d in its]), abs=2e-3)
            assert model["macro"][split]["ci95"][0] < model["macro"][split]["value"] < model["macro"][split]["ci95"][1]


def test_who_is_compared(made):
    found = report(made)
    pairs = {(c["a"], c["b"]) for c in found["comparisons"]}
    assert pairs == {("ce_only", "teacher"), ("constant_kd", "teacher"), ("askd", "teacher"), ("askd", "ce_only"),
                     ("askd", "constant_kd"), ("constant_kd", "ce_only")}
    by = {(c["a"], c["b"], c["split"]): c for c in found["comparisons"]}
    macro = {name: model["macro"] for name, model in found["wer"].items()}
    for (a, b, split), c in by.items():
        assert c["delta"] == pytest.approx(macro[a][split]["value"] - macro[b][split]["value"], abs=3e-3)
    assert "ASKD makes fewer errors than the teacher" in by["askd", "teacher", "all"]["in_words"]
    assert {(c["a"], c["b"]) for c in found["domain_comparisons"]} == pairs
    assert all(c["p"] <= c["p_holm"] for c in found["domain_comparisons"])
    names = ["teacher", *METHODS]
    every = ablation_pairs(names)
    assert len(every) == len(set(every)) and not {(b, a) for a, b in every} & set(every)
    against = {frozenset(pair) for pair in every}
    for b in ("teacher", "askd", "ce_only", "finetuned_teacher"):
        assert all(frozenset((a, b)) in against for a in names if a != b)
    assert len(ablation_sentences(found)) == 10 and ablation_sentences(found)[1].startswith("real speech: ASKD makes fewer")


def test_tables(made):
    found = report(made)
    header, rows = ablation_table(found)
    assert header[1:5] == ["in-domain", "out-of-domain", "real speech", "all domains"]
    assert header[5:] == ["all, minus the teacher", "all, minus CE only"]
    assert [row[0] for row in rows] == ["teacher, tiny.en as published", "CE only", "constant KD", "ASKD"]
    assert rows[0][5:] == ["", ""] and rows[1][6] == "" and rows[3][6].startswith("-") and rows[2][6].startswith("+")
    header, rows = ablation_domains(found)
    assert [row[0] for row in rows] == ["neural_clean", "formant_noise", "* scottish_street", "* pocketsphinx (real)"]
    assert header == ["domain", "teacher", "CE only", "constant KD", "ASKD"] and {len(row) for row in rows} == {5}


def test_curves_are_thin(made):
    found = curve(Run(seed_folder(made, 1)).student("askd"))
    assert len(found["step"]) == POINTS and found["step"][0] == 1 and found["step"][-1] == 200 and found["switch"] == 121
    assert found["dev"] == [{"step": s, "dev_ce": 1.5, "dev_wer": 21.0} for s in (50, 100, 150, 200)]
    for step, ce, kl, own in zip(*(found[key] for key in ("step", "ce", "kl_teacher", "kl_self")), strict=True):
        assert ce == float(f"{1 / step:.4g}") and (kl is None) == (step > 120) and (own is None) == (step <= 120)


def test_seeds_pair_by_number_and_disagreeing_ones_widen_the_interval(tmp_path):
    """A method that is always 1 in 8 words worse than another with the same seed, though seeds are far apart."""
    def interval(name, shift):
        folder = make(tmp_path / name, methods=())
        for seed in (0, 1):
            for method, extra in (("ce_only", 0), ("askd", 1)):
                add_student(seed_folder(folder, seed), method, seed)
                rows = rows_of("teacher")
                for row in rows:
                    wrong = extra + 1 + seed * shift  # of 8 words
                    row["hypothesis"] = " ".join(["zzz"] * wrong + row["reference"].split()[wrong:])
                add_transcripts(seed_folder(folder, seed), method, rows)
        found = report(folder, resamples=500)
        (pair,) = [c for c in found["comparisons"] if (c["a"], c["b"], c["split"]) == ("askd", "ce_only", "all")]
        low, high = found["wer"]["askd"]["macro"]["all"]["ci95"]
        return pair, high - low

    (pair, narrow), (far, wide) = interval("agree", 0), interval("disagree", 4)
    assert pair["delta"] == far["delta"] == 12.5 and far["ci95"] == [12.5, 12.5]  # one seed less the same seed
    assert narrow < 1 and wide > 50  # the two seeds are 50 points apart
    (kept, _), found = interval("again", 4), tmp_path / "again"
    for name in ("askd.jsonl", "askd.meta.json"):  # the other way round, seeds do not pair
        one, two = (hypotheses_path(seed_folder(found, seed), "askd").with_name(name) for seed in (0, 1))
        one.rename(one.with_suffix(".kept")), two.rename(one), one.with_suffix(".kept").rename(two)
    (crossed,) = [c for c in report(found, resamples=500)["comparisons"] if (c["b"], c["split"]) == ("ce_only", "all")]
    assert crossed["delta"] == kept["delta"] and crossed["ci95"][1] - crossed["ci95"][0] > 50


def test_the_digest_follows_settings_and_curricula(made):
    before = report(made)
    assert report(made)["config_hash"] == before["config_hash"]
    for seed in (0, 1):
        path = seed_folder(made, seed) / "students" / "askd" / "training.json"
        recorded = read_json(path)
        write_json(path, recorded | {"curriculum": recorded["curriculum"] | {"patience": 7}})
    assert report(made)["methods"] == ["ce_only", "constant_kd"]  # its curriculum is not the method's any more
    make(made, test_clips=9)
    after = report(made)
    assert after["config_hash"] != before["config_hash"] and after["methods"] == before["methods"]


def test_seeds_of_different_settings_have_no_mean(made):
    Run(seed_folder(made, 1)).start(steps=200, seed=1, test_clips=9, decoder_lr="2e-4")
    with pytest.raises(RunError, match=r"seeds 0 and 1 have different settings.*: test_clips 3 and 9; decoder_lr 0.0001 and 0"):
        report(made)
    assert not (made / "results").exists() and report(made, seeds=(0,))["seeds"] == [0]


def left_out(found):
    return [(entry["method"], entry["seed"], entry["why"]) for entry in found["left_out"]]


def test_what_is_not_whole_is_left_out_and_said(made, capsys):
    first, second = (seed_folder(made, seed) for seed in (0, 1))
    (Run(second).student("ce_only") / "finished.json").unlink()
    hypotheses_path(first, "ce_only").unlink()
    hypotheses_path(first, "constant_kd").unlink()
    found = report(made)
    assert found["methods"] == ["askd"] and set(found["wer"]) == {"teacher", "askd"}
    assert left_out(found) == [("ce_only", 0, "not transcribed"), ("ce_only", 1, "not trained to the end"),
                               ("constant_kd", 0, "not transcribed")]
    assert "left out: ce_only: not transcribed with seed 0; not trained to the end with seed 1\n" in capsys.readouterr().err
    Run(second).start(steps=300, seed=1)
    with pytest.raises(RunError, match="no method has all seeds"):
        report(made, seeds=(1,))
    assert "left out: askd: trained with other settings with seed 1" in capsys.readouterr().err
    assert report(made, seeds=(0,))["methods"] == ["askd"]
    hypotheses_path(first, "teacher").unlink()
    with pytest.raises(RunError, match=r"teacher\.jsonl is not there"):
        report(made, seeds=(0,))


@pytest.mark.parametrize(
    ("recorded", "why"),
    [({"clips": "others"}, "trained on other clips"), ({"n_clips": 8}, "trained on other clips"),
     ({"dev_clips": "others"}, "trained on other clips"), ({"teacher": "base"}, "of another teacher")],
)
def test_students_of_other_data_are_left_out(made, recorded, why):
    """The student finished last says which clips they are; the teacher's own transcripts, which teacher."""
    add_student(seed_folder(made, 1), "ce_only", 1, **recorded)
    for i, method in enumerate(("ce_only", "constant_kd", "askd")):
        os.utime(Run(seed_folder(made, 1)).student(method) / "finished.json", (i, i))
    found = report(made)
    assert found["methods"] == ["constant_kd", "askd"] and left_out(found) == [("ce_only", 1, why)]
    if why == "trained on other clips":  # the others are the old ones
        os.utime(Run(seed_folder(made, 1)).student("ce_only") / "finished.json", (9, 9))
        assert report(made)["methods"] == ["ce_only"]


@pytest.mark.parametrize(("meta", "why"), [
    ({"clips": "other clips"}, "transcribed other clips"), ({"max_new_tokens": 41}, "transcribed in another way"),
    ({"format": 2}, "transcribed in another way"),
])
def test_stale_transcripts_are_left_out(made, meta, why):
    add_transcripts(seed_folder(made, 0), "askd", rows_of("askd"), **meta)
    assert left_out(report(made)) == [("askd", 0, why)]


def test_what_a_seed_changes_is_said(made):
    found = report(made)
    assert over(found) == "utterances and 2 seeds"
    fixed = report(make(made / "fixed", clips_seed=0))
    assert over(fixed) == "utterances and 2 training orders of the same clips" and over(fixed | {"seeds": [3]}) == "utterances"


def test_the_worst_real_domain(made):
    """Real speech never trained on is told where there is real speech of both kinds; one that is worse by a point is named."""
    found = report(made)
    assert "real_out_of_domain" not in means(found)  # all real speech is that here
    domains, macros = found["wer"]["teacher"]["domains"], found["wer"]["teacher"]["macro"]
    domains["an4"] = domains["pocketsphinx"] | {"split": "in_domain"}
    assert means(found) == {"in_domain": 3, "out_of_domain": 2, "real": 2, "real_out_of_domain": 1, "all": 5} and len(macros) == 6
    assert len([line for line in ablation_sentences(found) if line.startswith("real, never trained on: ASKD")]) == 3
    assert len(TOLD) == 16 and "real, never trained on" in ablation_table(found)[0]
    each = [{"a": "askd", "b": "teacher", "domain": domain, "delta": delta, "ci95": [delta - 1, delta + 1], "p_holm": 0.25}
            for domain, delta in (("neural_clean", 9.0), ("pocketsphinx", 1.0), ("an4", 1.5))]
    assert worst_real_domain(found | {"domain_comparisons": each}) == [
        "real speech, domain by domain, ASKD minus the teacher: at worst +1.50 points, in an4 (95 % CI [+0.50, +2.50], p 0.25 "
        "after Holm over 3 domains); more than 1 point above the teacher in 1 of 2: an4 (+1.50)"]
    (line,) = worst_real_domain(found | {"domain_comparisons": each[:2]})
    assert line.endswith("more than 1 point above the teacher in 0 of 1")
    assert worst_real_domain(found | {"domain_comparisons": []}) == []


def test_domains_of_one_corpus_are_known():
    names = ("common_voice", "an4", "common_voice_noise", "asterisk_8khz", "asterisk_street", "neural_clean", "neural_room")
    domains = {name: {"real": not name.startswith("neural")} for name in names}
    assert shared_sources({"wer": {"teacher": {"domains": domains}}}) == [
        ["common_voice", "common_voice_noise"], ["asterisk_8khz", "asterisk_street"]]


def test_scoring_alone(made, capsys):
    assert main(["ablate", "--profile", "smoke", "--out", str(made), "--no-train", "--resamples", "100"]) == 0
    out = capsys.readouterr().out
    assert "constant KD" in out and "over utterances and 2 seeds; domains in each" in out
    assert "ASKD makes fewer errors than the teacher" in out
    assert ablate("smoke", ["askd"], [1], made, resamples=50, train=False) == made
    kept = read_json(made / "results" / "ablation.json")
    assert kept["methods"] == ["askd"] and kept["seeds"] == [1] and kept["profile"] == "smoke"
    with pytest.raises(AskdError, match=r"seed 7 is not in .*: there are 0, 1"):
        ablate("smoke", seeds=[7], out=made, train=False)
    with pytest.raises(AskdError, match="--no-train trains nothing"):
        ablate("smoke", out=made, train=False, changes={"steps": 5})
    with pytest.raises(RunError, match="without --no-train first"):
        ablate("smoke", out=made / "nowhere", train=False)
    with only_writer(made), pytest.raises(RunError, match="is being written by process"):
        ablate("smoke", out=made, train=False)
