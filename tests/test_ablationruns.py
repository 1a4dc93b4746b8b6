"""The jobs of `askd ablate`: what is refused, which seeds are scored, jobs that fail, going on, a toy ablation, publishing."""

import os
import time
from dataclasses import asdict

import pytest
from ablation_folders import add_student, add_transcripts, make, report, rows_of

from askd import ablation as module
from askd import ablationjobs as jobs
from askd.ablation import JobsFailed, ablate, ablation_section, ablation_settings, chosen_methods
from askd.ablationfiles import hypotheses_path, seed_folder
from askd.cli import main
from askd.errors import AskdError, RunError, TrainingDiverged, UnknownName
from askd.files import read_json, write_json
from askd.methods import METHODS
from askd.publish import MARK, PAGES, committed_ablation, publish, results_table, shown_block
from askd.rows import meta_path
from askd.runs import Run, Settings
from askd.training import save_model

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture
def made(tmp_path):
    """Three methods, two seeds, as `askd ablate` leaves them."""
    return make(tmp_path / "made-ablation")


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [({"methods": ["askd", "askd"]}, AskdError, "method askd is given twice"), ({"methods": []}, AskdError, "no method given"),
     ({"methods": ["akd"]}, UnknownName, "did you mean 'askd'"), ({"methods": ["teacher"]}, UnknownName, "unknown method"),
     ({"seeds": [0, 1, 0]}, AskdError, "seed 0 is given twice"), ({"seeds": [-1]}, AskdError, "seed -1: seeds are whole numbers"),
     ({"changes": {"layers": 2}}, AskdError, "--set: unknown field layers: known are .*decoder_layers"),
     ({"changes": {"decoder_layers": 2}, "out": None}, AskdError, "a folder of their own, --out runs/smoke-ablation-NAME"),
     *[({"changes": {"training": given}}, AskdError, says) for given, says in (
         (5, "training must be a mapping, .* not 5"), ({"momentun": 0.5}, "training: unknown field momentun: known are .*dev"),
         ({"seed": 3}, "training: seed: .* use --methods and --seeds"), ({"momentum": 2}, r"momentum must lie in \[0, 1\)"))],
     *[({"changes": {name: value}}, AskdError, says) for name, value, says in (
         ("steps", "abc", "steps must be a whole number, not 'abc'"), ("steps", 2.5, "steps must be a whole number, not 2.5"),
         ("steps", True, "steps must be a whole number, not True"), ("steps", 0, "steps must be at least 1"),
         ("seeds", 5, "--set is for settings: use --methods and --seeds"), ("seed", 5, "use --methods and --seeds"),
         ("corpora", "an4", "corpora must be a list of names"), ("teacher", 3, "teacher must be a name, not 3"),
         ("decoder_layers", 99, r"decoder_layers 99: student layers must lie in \[1, 4\]"), ("clips_seed", -1, "must be 0 or"),
         ("encoder_lr", "nan", "encoder_lr must be a number"), ("streaming", "maybe", "streaming must be true or false"),
         ("precision", "fp8", "precision must be one of"))],
     ({"changes": {"teacher": "tinny"}}, UnknownName, "unknown model 'tinny'"),
     ({"workers": 0}, AskdError, "workers must be at least 1"), ({"profile": "gpus"}, UnknownName, "unknown profile 'gpus'")],
)
def test_refused(tmp_path, given, error, says):
    with pytest.raises(error, match=says):
        ablate(**{"profile": "smoke", "out": tmp_path / "x"} | given)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(("item", "says"), [("corpora=[a", "--set corpora=[a: the value is not YAML"),
                                            ("steps", "--set steps: write FIELD=VALUE")])
def test_refused_on_the_command_line(tmp_path, capsys, item, says):
    assert main(["ablate", "--profile", "smoke", "--set", item, "--out", str(tmp_path / "x")]) == 2
    error = capsys.readouterr().err
    assert says in error and len(error.strip().splitlines()) == 1 and not (tmp_path / "x").exists()
    assert main(["ablate", "--set", "steps=1", "--set", "steps=2"]) == 2 and "given twice" in capsys.readouterr().err


def test_numbers_are_taken_as_yaml_gives_them():
    settings = Settings(steps="1e3", decoder_lr="3e-5", batch_size=4.0, decoder_layers=None, clips_seed="2")
    assert (settings.steps, settings.decoder_lr, settings.batch_size, settings.clips_seed) == (1000, 3e-5, 4, 2)
    assert all(type(getattr(settings, name)) is int for name in ("steps", "batch_size", "clips_seed"))
    assert Settings(decoder_layers=[0, 3]).decoder_layers == [0, 3]  # which ones, by hand


def test_the_profiles_section():
    profile = {"parameters": {"00_quickstart": {"teacher_name": "base", "steps": 96, "training": {"workers": 2}}}}
    assert ablation_section("p", None) == {}
    assert asdict(ablation_settings(profile, 3)) == asdict(Settings(
        teacher="base", steps=96, training={"dev_wer_every": 24, "workers": 2}, seed=3))
    section = ablation_section("p", {"steps": 2, "methods": ["askd"], "seeds": [5], "training": {"momentum": 0.5}})
    assert ablation_settings(profile, 5, section).training == {"dev_wer_every": 1, "workers": 2, "momentum": 0.5}
    found = ablation_settings(profile, 0, section, {"training": {"dev_wer_every": 7, "momentum": 0.9}, "steps": "8"})
    assert found.steps == 8 and found.training == {"dev_wer_every": 7, "workers": 2, "momentum": 0.9}  # the last word counts
    for wrong, says in (({"step": 2, "seed": 1}, "unknown field seed, step: known are batch_size, .*methods.*seeds"),
                        ([1], "must be a mapping"), ({"seeds": 5}, "seeds must be a list, not 5")):
        with pytest.raises(AskdError, match=says):
            ablation_section("p", wrong)


def test_which_seeds_are_scored(toy_profile, tmp_path, monkeypatch, capsys):
    """Earlier seeds of the same settings with all the methods are; others are named."""
    monkeypatch.setattr(jobs, "_train_and_transcribe", as_if)
    folder = ablate("toy", ["askd", "ce_only"], [0, 1], tmp_path / "out", resamples=50)
    ablate("toy", ["askd"], [4, 3], folder, resamples=50)
    assert "scored: seed 0, 1, 3, 4\n" in capsys.readouterr().out
    found = read_json(folder / "results" / "ablation.json")
    assert found["seeds"] == [0, 1, 3, 4] and found["methods"] == ["askd"]
    assert {(e["method"], e["seed"]) for e in found["left_out"]} == {("ce_only", 3), ("ce_only", 4)}
    Run(seed_folder(folder, 9)).start(steps=7, seed=9)  # of other settings, without students
    hypotheses_path(seed_folder(folder, 1), "askd").unlink()
    ablate("toy", ["askd"], [3], folder, resamples=50)
    assert "scored: seed 0, 3, 4\nnot scored: seed 1, 9, of other settings or without" in capsys.readouterr().out
    assert not hypotheses_path(seed_folder(folder, 9), "teacher").exists()


def test_students_of_other_settings_are_not_moved_aside(toy_profile, tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, "_train_and_transcribe", as_if)
    folder = ablate("toy", ["askd"], out=tmp_path / "out", resamples=50, changes={"decoder_layers": 1})
    before = (folder / "seed-1" / "settings.json").read_bytes()
    with pytest.raises(RunError, match=r"other settings .decoder_layers 1, not 2.: give another folder, --out FOLDER, or delete"):
        ablate("toy", ["askd"], [5, 1], folder)
    assert (folder / "seed-1" / "settings.json").read_bytes() == before and not (folder / "seed-5").exists()
    ablate("toy", ["askd"], [1], folder, resamples=50, changes={"decoder_layers": 1})
    empty = tmp_path / "empty"
    Run(seed_folder(empty, 0)).start(steps=9)
    ablate("toy", ["askd"], [0], empty, resamples=50)  # nothing is there that could be lost
    assert Run(seed_folder(empty, 0)).settings().steps == 2


def test_a_killed_training_leaves_no_old_transcripts(made, monkeypatch):
    """Of a student that is not finished: a new one must not stand beside them when it is killed before its own."""
    def killed(self, *args):
        raise KeyboardInterrupt

    monkeypatch.setattr("askd.runs.Run.train", killed)
    monkeypatch.setattr("askd.teacher.load_teacher", lambda name: (None, None))
    path = hypotheses_path(seed_folder(made, 0), "askd")
    for there in (True, False):
        with pytest.raises(KeyboardInterrupt):
            jobs._train_and_transcribe(jobs.Job(seed_folder(made, 0), 0, "askd", 4))
        assert path.exists() == meta_path(path).exists() == there
        (Run(seed_folder(made, 0)).student("askd") / "finished.json").unlink(missing_ok=True)


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


def as_if(job):
    """What a job leaves behind, without any model."""
    if job.method == "teacher":
        add_transcripts(job.folder, "teacher", rows_of("teacher"))
    else:
        add_student(job.folder, job.method, job.seed)


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


def test_a_toy_ablation_and_again(toy_profile, drawn, tmp_path, capsys, monkeypatch):
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

    toy_profile["parameters"]["00_quickstart"]["steps"] = 3
    with pytest.raises(RunError, match=r"begun with other settings .steps 2, not 3\)"):
        ablate("toy", ["askd"], [1], folder, resamples=50, changes=layers)
    assert len(trained) == 4


def test_a_failed_job_stops_no_other(toy_profile, tmp_path, capsys, monkeypatch):
    done = []

    def work(job):
        done.append(job.name)
        if job.method == "ps_kd":
            raise TrainingDiverged("the loss is nan at step 3")
        if job.method == "reversed":
            raise ZeroDivisionError("a bug")
        as_if(job)

    monkeypatch.setattr(jobs, "_train_and_transcribe", work)
    folder = tmp_path / "out"
    with pytest.raises(JobsFailed, match=r"(?s)nothing could be scored .*no method has all seeds.*ps_kd, seed 1: ") as none:
        ablate("toy", ["ps_kd"], out=folder, resamples=50)
    assert none.value.folder is None
    with pytest.raises(JobsFailed, match=r"(?s)4 of the jobs failed.*ps_kd, seed 1: the loss is nan.*ZeroDivisionError") as some:
        ablate("toy", ["reversed", "ps_kd", "askd", "ce_only"], out=folder, resamples=50)
    assert len(done) == 3 + 9 and done[3] == "teacher" and some.value.folder == folder
    assert read_json(folder / "results" / "ablation.json")["methods"] == ["ce_only", "askd"]
    assert main(["ablate", "--out", str(folder), "--methods", "ps_kd", "askd", "--resamples", "50"]) == 1
    printed = capsys.readouterr()
    assert "ps_kd, seed 0: the loss is nan at step 3" in printed.err and "| CE only" not in printed.err
    assert "CE only" in printed.out and "ASKD makes fewer errors than the teacher" in printed.out


def test_damaged_transcripts_do_not_hide_the_jobs_that_failed(toy_profile, tmp_path, monkeypatch):
    def work(job):
        as_if(job)
        if job.method == "ce_only":
            raise TrainingDiverged("the loss is nan")
        path = hypotheses_path(job.folder, job.method)
        path.write_bytes(path.read_bytes()[:200])

    monkeypatch.setattr(jobs, "_train_and_transcribe", work)
    with pytest.raises(JobsFailed, match=r"(?s)nothing could be scored \(.*48 were written.*ce_only, seed 0: the loss is nan"):
        ablate("toy", ["ce_only", "askd"], out=tmp_path / "out", resamples=50)


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


@pytest.fixture
def repository(made, tmp_path, monkeypatch):
    """A repository without results whose pages have the marks, and a scored ablation in runs/made-ablation."""
    folder = tmp_path / "repository"
    monkeypatch.setattr("askd.publish.project_dir", lambda: folder)
    monkeypatch.setattr("askd.publish.data_dir", lambda: folder / "data")
    monkeypatch.setattr("askd.publish.Run", lambda name: Run(tmp_path / name))
    for block in ("ablation", "summary"):
        page = folder / PAGES[block]
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(f"before\n{MARK.format(block)}\nold\n{MARK.format(f'/{block}')}\nafter\n")
    report(made)
    return folder


def test_publishing(made, tmp_path, drawn, repository, capsys):
    other = make(tmp_path / "made-ablation-2layers", methods=("askd",), decoder_layers=1)
    report(other)
    path = made / "results" / "ablation.json"
    scored = read_json(path)
    write_json(path, scored | {"provenance": scored["provenance"] | {"commit": "abcd", "changed": True}})
    publish("made")
    page, kept = repository / PAGES["ablation"], repository / "data" / "results" / "made"
    text = page.read_text()
    assert text.startswith("before\n<!-- results:ablation -->\nProfile `made`, 2 seeds, ") and text.endswith("after\n")
    for said in ("scored at commit `abcd` with uncommitted changes, trained at `abc`.", "| ASKD |", "&ast; pocketsphinx (real)",
                 "- all domains: ASKD ", "in-domain 2, out-of-domain 2, real speech 1, all domains 4", "p of means as they are",
                 "**With decoder_layers 1 instead of 2** (`ablation-2layers.json`)", "real speech, domain by domain, ASKD"):
        assert said in text
    assert text.count("real speech, domain by domain") == 2 and committed_ablation(kept) in text and "\nold\n" not in text
    assert (kept / "ablation.json").read_bytes() == path.read_bytes()
    assert (kept / "ablation-2layers.json").read_bytes() == (other / "results" / "ablation.json").read_bytes()
    assert len(list((repository / "figures").iterdir())) == 6 and "the ablation alone" in capsys.readouterr().out
    front = (repository / "README.md").read_text()
    assert front.startswith("before\n<!-- results:summary -->\n| model | all domains (4) |") and front.endswith("after\n")
    assert "\n| ASKD | " in front and "Profile `made`, scored at commit `abcd` with uncommitted changes" in front
    page.write_text("no marks")
    publish("made")
    assert page.read_text() == "no marks" and f"{PAGES['ablation']} has no <!-- results:ablation -->" in capsys.readouterr().out
    assert (repository / "README.md").read_text() == front


def test_a_page_without_its_marks_is_named_and_no_other_is_changed(made, repository):
    (repository / "README.md").write_text("no marks")
    with pytest.raises(RunError, match=r"README\.md has no <!-- results:summary --> \.\.\. <!-- results:/summary -->"):
        publish("made")
    assert shown_block("ablation") == "\nold\n"


def test_a_setting_that_is_newer_than_a_result_has_its_default_there(made, tmp_path, repository):
    other = make(tmp_path / "made-ablation-before", methods=("askd",))
    for folder, newer in ((made, {"cut_clips": 5}), (other, {})):
        report(folder)
        scored = read_json(folder / "results" / "ablation.json")
        scored["settings"] = {name: value for name, value in scored["settings"].items() if name != "cut_clips"} | newer
        write_json(folder / "results" / "ablation.json", scored)
    publish("made")
    assert "**With cut_clips 0 instead of 5** (`ablation-before.json`)" in shown_block("ablation")


def test_another_profiles_ablation_is_not_replaced(made, repository, capsys):
    page = repository / PAGES["ablation"]
    page.write_text(shown := page.read_text().replace("old", "Profile `large`, 3 seeds."))
    publish("made")
    assert page.read_text() == shown and shown_block("summary") == "\nold\n" and not (repository / "figures").exists()
    assert (repository / "data" / "results" / "made" / "ablation.json").is_file()
    assert "show the ablation of profile large and stay" in capsys.readouterr().out


def test_a_run_without_some_results_is_not_published_by_half(made, tmp_path, repository):
    write_json(tmp_path / "made" / "results" / "wer.json", {})
    with pytest.raises(RunError, match=r"latency\.json is not there yet"):
        publish("made")
    assert not (repository / "data" / "results" / "made").exists() and shown_block("ablation") == "\nold\n"
    (tmp_path / "made" / "results" / "wer.json").unlink()
    publish("made")  # a folder that was only begun
    assert (repository / "data" / "results" / "made" / "ablation.json").is_file()
