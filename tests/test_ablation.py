"""Methods x seeds: what is scored and what is left out, jobs that fail, going on where it stopped, and a toy ablation."""

import json
import os
import random
import time

import jiwer
import numpy as np
import pytest

from askd import ablation as module
from askd import ablationjobs as jobs
from askd.ablation import JobsFailed, ablate, ablation_section, ablation_settings, chosen_methods
from askd.ablationreport import (
    POINTS,
    ablation_domains,
    ablation_pairs,
    ablation_report,
    ablation_sentences,
    ablation_table,
    curve,
    hypotheses_path,
    seed_folder,
)
from askd.cli import main
from askd.errors import AskdError, RunError, TrainingDiverged, UnknownName
from askd.files import only_writer, read_json, write_json
from askd.methods import METHODS, get_method
from askd.publish import publish, results_table
from askd.rows import write_rows
from askd.runs import Run
from askd.training import save_model

WORDS = "quick brown fox jumps over lazy dog while green birds watch from their old stone wall".split()
DOMAINS = ("neural_clean", "formant_noise", "scottish_street", "pocketsphinx")  # the third never trained on, the last real too
RATES = {"teacher": 0.5, "askd": 0.1, "constant_kd": 0.3, "ce_only": 0.15, "ps_kd": 0.2}  # of words that are wrong


def rows_of(name, seed=0, n=12):
    """A model that gets a share of its words wrong, others in every domain and with every seed."""
    rows = []
    for i, domain in [(i, d) for d in DOMAINS for i in range(n)]:
        said, chance = random.Random(f"{domain}{i}").choices(WORDS, k=8), random.Random(f"{name}{seed}{domain}{i}")
        heard = [chance.choice(WORDS) if chance.random() < RATES[name] else word for word in said]
        rows.append({"domain": domain, "id": str(i), "speaker": f"v{i % 3}", "reference": " ".join(said), "seconds": 2.0,
                     "hypothesis": " ".join(heard), "ended": True})
    return rows


def add_student(folder, method, seed, steps=200):
    run, student = Run(folder), Run(folder).student(method)
    write_json(student / "training.json", run.train_config(method).recorded())
    curriculum, logged = get_method(method), []
    for step in range(1, steps + 1):
        w = curriculum.weights((step - 1) / steps)
        terms = {"ce": 1 / step} | ({"kl_teacher": 2 / step} if w.teacher else {}) | ({"kl_self": 0.1} if w.self_teacher else {})
        row = {"step": step, "loss": 1.0, "phase": curriculum.phase((step - 1) / steps), **terms, "w_label": w.label,
               "w_teacher": w.teacher, "w_self": w.self_teacher}
        logged.append(row | ({"dev_ce": 1.5, "dev_wer": 20 + seed} if step % 50 == 0 else {}))
    for name, lines in (("metrics", logged), ("speed", [{"step": i, "seconds": 0.5} for i in range(1, steps + 1)])):
        (student / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    start = {"git": {"commit": "abc", "dirty": False}, "environment": {"gpu": "H100"}}
    write_json(student / "run.json", {"starts": [start, start]})
    write_json(student / "finished.json", {"steps": steps})
    write_rows(hypotheses_path(folder, method), rows_of(method, seed))


@pytest.fixture
def made(tmp_path):
    """Three methods, two seeds, as `askd ablate` leaves them."""
    for seed in (0, 1):
        folder = seed_folder(tmp_path, seed)
        Run(folder).start(steps=200, seed=seed)
        write_rows(hypotheses_path(folder, "teacher"), rows_of("teacher"))
        for method in ("ce_only", "constant_kd", "askd"):
            add_student(folder, method, seed)
    return tmp_path


def report(folder, seeds=(0, 1), resamples=300):
    return ablation_report(folder, "made", seeds, list(METHODS), resamples)


def test_what_is_in_ablation_json(made):
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
    assert len(ablation_sentences(found)) == 9 and ablation_sentences(found)[1].startswith("real speech: ASKD makes fewer")


def test_tables(made):
    found = report(made)
    header, rows = ablation_table(found)
    assert header[1:5] == ["in-domain", "out-of-domain", "real speech", "all domains"]
    assert header[5:] == ["all, minus the teacher", "all, minus CE only"]
    assert [row[0] for row in rows] == ["teacher", "CE only", "constant KD", "ASKD"]
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


def test_the_digest_follows_settings_and_curricula(made):
    before = report(made)["config_hash"]
    assert report(made)["config_hash"] == before
    for seed in (0, 1):
        Run(seed_folder(made, seed)).start(steps=200, seed=seed, test_clips=9)
    after = report(made)
    assert after["config_hash"] != before and after["methods"] == ["ce_only", "constant_kd", "askd"]


def test_what_is_not_whole_is_left_out_and_said(made, capsys):
    first, second = (seed_folder(made, seed) for seed in (0, 1))
    (Run(second).student("ce_only") / "finished.json").unlink()
    hypotheses_path(first, "constant_kd").unlink()
    found = report(made)
    assert found["methods"] == ["askd"] and set(found["wer"]) == {"teacher", "askd"}
    assert found["left_out"] == [{"method": "ce_only", "seeds": [1], "why": "not trained to the end"},
                                 {"method": "constant_kd", "seeds": [0], "why": "not transcribed"}]
    assert "left out: ce_only: not trained to the end with seed 1" in capsys.readouterr().err
    Run(second).start(steps=300, seed=1)
    with pytest.raises(RunError, match="no method has all seeds"):
        report(made)
    assert "left out: askd: trained with other settings with seed 1" in capsys.readouterr().err
    assert report(made, seeds=(0,))["methods"] == ["ce_only", "askd"]  # whole with the first seed alone
    hypotheses_path(first, "teacher").unlink()
    with pytest.raises(RunError, match=r"teacher\.jsonl is not there"):
        report(made, seeds=(0,))


def test_scoring_alone(made, capsys):
    assert main(["ablate", "--profile", "smoke", "--out", str(made), "--no-train", "--resamples", "100"]) == 0
    out = capsys.readouterr().out
    assert "constant KD" in out and "ASKD makes fewer errors than the teacher" in out and "macro WER %; in brackets" in out
    assert ablate("smoke", ["askd"], [1], made, resamples=50, train=False) == made
    kept = read_json(made / "results" / "ablation.json")
    assert kept["methods"] == ["askd"] and kept["seeds"] == [1] and kept["profile"] == "smoke"
    with pytest.raises(AskdError, match=r"seed 7 is not in .*: there are 0, 1"):
        ablate("smoke", seeds=[7], out=made, train=False)
    with pytest.raises(RunError, match="without --no-train first"):
        ablate("smoke", out=made / "nowhere", train=False)
    with only_writer(made), pytest.raises(RunError, match="is being written by process"):
        ablate("smoke", out=made, train=False)


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [({"methods": ["askd", "askd"]}, AskdError, "method askd is given twice"), ({"methods": []}, AskdError, "no method given"),
     ({"methods": ["akd"]}, UnknownName, "did you mean 'askd'"), ({"methods": ["teacher"]}, UnknownName, "unknown method"),
     ({"seeds": [0, 1, 0]}, AskdError, "seed 0 is given twice"), ({"seeds": [-1]}, AskdError, "seed -1: seeds are whole numbers"),
     ({"changes": {"layers": 2}}, AskdError, "--set: unknown field layers: known are .*decoder_layers"),
     ({"changes": {"decoder_layers": 2}, "out": None}, AskdError, "a folder of their own, --out runs/smoke-ablation-NAME"),
     ({"workers": 0}, AskdError, "workers must be at least 1"), ({"profile": "gpus"}, UnknownName, "unknown profile 'gpus'")],
)
def test_refused(tmp_path, given, error, says):
    with pytest.raises(error, match=says):
        ablate(**{"profile": "smoke", "out": tmp_path / "x"} | given)
    assert not (tmp_path / "x").exists()


def test_the_profiles_section():
    profile = {"parameters": {"00_quickstart": {"teacher_name": "base", "steps": 96, "training": {"workers": 2}}}}
    assert ablation_section("p", profile) == {} == ablation_section("p", profile | {"ablation": None})
    assert ablation_settings(profile, {}, 3) == {
        "teacher": "base", "steps": 96, "training": {"dev_wer_every": 24, "workers": 2}, "seed": 3}
    section = ablation_section("p", profile | {"ablation": {"steps": 2, "methods": ["askd"], "seeds": [5]}})
    assert ablation_settings(profile, section, 5)["training"]["dev_wer_every"] == 1
    assert ablation_settings(profile, {"training": {"dev_wer_every": 7}}, 0)["training"] == {"dev_wer_every": 7}
    for wrong, says in (({"step": 2, "seed": 1}, "unknown field seed, step: known are batch_size, .*methods.*seeds"),
                        ([1], "must be a mapping")):
        with pytest.raises(AskdError, match=says):
            ablation_section("p", {"ablation": wrong})


def test_order_of_the_jobs(tmp_path):
    """Whole comparisons first: the methods of the claim with all their seeds, then the others."""
    assert chosen_methods(None)[:3] == ["askd", "constant_kd", "ce_only"] and "finetuned_teacher" not in chosen_methods(None)
    assert set(chosen_methods(["all"])) == set(chosen_methods("all")) == set(METHODS)
    found = module._jobs(tmp_path, chosen_methods(["ps_kd", "ce_only", "askd"]), [0, 2], 40)
    assert [job.name for job in found] == [
        "teacher", "askd, seed 0", "askd, seed 2", "ce_only, seed 0", "ce_only, seed 2", "ps_kd, seed 0", "ps_kd, seed 2"]


def test_how_far_it_is():
    line = jobs.progress_line
    assert line(2, 9, "a", jobs.Outcome(None, 42.0, True), 90, 300) == "[2/9] a: 42 s; 1.5 min so far, about 5.0 min left"
    assert line(9, 9, "a", jobs.Outcome(None, 1, False), 9000, 0.0) == "[9/9] a: done before; 2.5 h so far, all done"
    assert line(1, 9, "a", jobs.Outcome("no", 1, True), 0, None) == "[1/9] a: failed; 0 s so far"
    assert jobs.eta_s([10, 30], 7, 3) == 60 and jobs.eta_s([10], 1, 8) == 10


def own_place(job):
    """What a worker is given, when the first two have met; one of them dies."""
    import torch

    if job.method == "ps_kd":
        os._exit(1)
    (job.folder / job.method).touch()
    until = time.monotonic() + 60
    while not ((job.folder / "askd").exists() and (job.folder / "ce_only").exists()) and time.monotonic() < until:
        time.sleep(0.05)

    return jobs.Outcome(None, torch.get_num_threads(), True, (os.environ.get("CUDA_VISIBLE_DEVICES", ""), str(os.getpid())))


def test_each_worker_has_its_share_and_dies_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, "gpus_here", lambda: ["4", "6"])
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: range(6))
    methods = ["askd", "ce_only", "ps_kd", "reversed"]
    todo = [jobs.Job(tmp_path, 0, method, 5) for method in methods]
    found = {job.method: outcome for job, outcome in jobs.side_by_side(todo, 2, own_place)}
    assert set(found) == set(methods) and "its process was killed" in found.pop("ps_kd").error
    assert {outcome.seconds for outcome in found.values()} == {3} and not any(outcome.error for outcome in found.values())
    (gpu, process), (other_gpu, other_process) = found["askd"].said, found["ce_only"].said
    assert (gpu, other_gpu) == ("4", "6") and process != other_process and found["reversed"].said[0] in ("4", "6")


@pytest.fixture
def toy_profile(toy, tiny_en, tmp_path, monkeypatch):
    """A profile of a toy teacher, two domains, one clip each."""
    save_model(toy, tiny_en.processor, tmp_path / "teacher")
    start = {"teacher_name": str(tmp_path / "teacher"), "train_clips": 4, "dev_clips": 1, "test_clips": 1, "real_clips": 1,
             "steps": 2, "batch_size": 2, "training": {"track": "none", "top_k": 8}}
    profile = {"parameters": {"00_quickstart": start, "04_multi_domain_wer": {"max_new_tokens": 4}},
               "ablation": {"seeds": [0, 1]}}
    monkeypatch.setattr("askd.runinfo.draw", lambda folder: None)
    monkeypatch.setattr(module, "read_profile", lambda name: profile)
    monkeypatch.setattr("askd.runs.default_domains", lambda: ["neural_clean", "pocketsphinx"])
    return profile


def test_a_toy_ablation_and_again(toy_profile, tmp_path, capsys, monkeypatch):
    import askd.training

    trained = []
    run = askd.training._Trainer.run
    monkeypatch.setattr(askd.training._Trainer, "run", lambda self: (trained.append(self.config.method), run(self)))
    layers = {"decoder_layers": 1}
    folder = ablate("toy", ["ce_only", "askd"], out=tmp_path / "out", resamples=50, changes=layers)
    assert read_json(folder / "seed-1" / "students" / "askd" / "config.json")["decoder_layers"] == 1
    assert trained == ["askd", "askd", "ce_only", "ce_only"]
    first = read_json(folder / "results" / "ablation.json")
    assert first["methods"] == ["ce_only", "askd"] and first["seeds"] == [0, 1]
    assert [look["step"] for look in first["curves"]["askd"][1]["dev"] if look["dev_wer"] is not None] == [1, 2]
    assert first["trained"][0]["machine"] and "[5/5] ce_only, seed 1: " in capsys.readouterr().out
    texts = [hypotheses_path(seed_folder(folder, seed), "teacher").read_bytes() for seed in (0, 1)]
    assert texts[0] == texts[1] and len(texts[0].splitlines()) == 2

    ablate("toy", ["askd"], out=folder, resamples=50, changes=layers)  # nothing anew, and what was there is scored with it
    out = capsys.readouterr().out
    assert len(trained) == 4 and out.count("done before") == 3
    assert read_json(folder / "results" / "ablation.json")["wer"] == first["wer"]

    toy_profile["parameters"]["00_quickstart"]["steps"] = 3  # other settings: trained and transcribed anew, CE only left out
    ablate("toy", ["askd"], [1], folder, resamples=50, changes=layers)
    assert trained[4:] == ["askd"]
    printed = capsys.readouterr()
    assert "moved aside" in printed.out and "left out: ce_only: trained with other settings" in printed.err
    assert read_json(folder / "results" / "ablation.json")["methods"] == ["askd"]


def test_a_failed_job_stops_no_other(toy_profile, made, capsys, monkeypatch):
    done = []

    def work(job):
        done.append(job.name)
        if job.method == "ps_kd":
            raise TrainingDiverged("the loss is nan at step 3")
        if job.method == "reversed":
            raise ZeroDivisionError("a bug")
        if job.method != "teacher":
            add_student(job.folder, job.method, job.seed)

    monkeypatch.setattr(jobs, "_train_and_transcribe", work)
    with pytest.raises(JobsFailed, match=r"(?s)4 of the jobs failed.*ps_kd, seed 1: the loss is nan.*ZeroDivisionError"):
        ablate("toy", ["reversed", "ps_kd", "askd", "ce_only"], out=made, resamples=50)
    assert len(done) == 9 and done[0] == "teacher"
    assert read_json(made / "results" / "ablation.json")["methods"] == ["ce_only", "askd"]
    assert main(["ablate", "--out", str(made), "--methods", "ps_kd", "askd", "--resamples", "50"]) == 1
    assert "ps_kd, seed 0: the loss is nan at step 3" in capsys.readouterr().err


def test_the_readmes_table_has_real_speech_where_the_report_has(made):
    report(made)
    wer = read_json(made / "results" / "wer.json")
    header, line, first = results_table(wer, {"teacher": "tiny.en"}).splitlines()[:3]
    assert [cell.strip() for cell in header.split("|")[1:-1]] == [
        "model", "in-domain WER %", "out-of-domain WER %", "real speech WER %", "all domains WER %", "all, minus teacher"]
    assert line.count("---") == 6 and f"| {wer['models']['teacher']['macro']['real']:.1f} [" in first
    for model in wer["models"].values():
        for split in ("real", "real_out_of_domain", "synthetic"):
            del model["macro"][split]
    header, line, first = results_table(wer, {"teacher": "tiny.en"}).splitlines()[:3]
    assert "real" not in header and line == "|---|---|---|---|---|" and first.count("|") == 6


def test_publishing(made, tmp_path, monkeypatch):
    monkeypatch.setattr("askd.publish.project_dir", lambda: tmp_path / "repository")
    monkeypatch.setattr("askd.publish.data_dir", lambda: tmp_path / "repository" / "data")
    monkeypatch.setattr("askd.publish.Run", lambda name: Run(made if name == "made-ablation" else tmp_path / "none"))
    readme = tmp_path / "repository" / "README.md"
    readme.parent.mkdir()
    readme.write_text("before\n<!-- results:ablation -->\nold\n<!-- results:/ablation -->\nafter\n")
    report(made)
    publish("made")
    text = readme.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "\nold\n" not in text
    assert "2 seeds" in text and "| ASKD |" in text and "&ast; pocketsphinx (real)" in text and "- all domains: ASKD " in text
    kept = tmp_path / "repository" / "data" / "results" / "made" / "ablation.json"
    assert kept.read_bytes() == (made / "results" / "ablation.json").read_bytes()
    assert len(list((tmp_path / "repository" / "figures").iterdir())) == 6
    readme.write_text("no marks")
    publish("made")
    assert readme.read_text() == "no marks"
