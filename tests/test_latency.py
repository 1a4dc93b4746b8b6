"""Latency: the same words from every engine, work that is really fixed, a table and figures from one small run."""

import json

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from askd.cli import main
from askd.decoding import greedy, use_clip_context
from askd.domains import load_clips
from askd.engines import ENGINES, CTranslate, FasterWhisper, Generate, Transformers, make_engine
from askd.errors import AskdError, RunError, UnknownName
from askd.features import log_mel, pad_features
from askd.files import data_dir
from askd.latency import measure
from askd.latencybound import Rates, against_bound, bound_ms, measure_rates, step_weights
from askd.latencyfigures import front, pareto, scale
from askd.latencyparts import as_text as parts_text
from askd.latencyparts import speedup_parts
from askd.latencyreport import TEST, as_text, compare
from askd.latencyshapes import as_text as shapes_text
from askd.latencyshapes import cut_view, parameters, random_whisper, shape_config, shape_speedup
from askd.latencytables import details, engines_table, goals_table, read_latency
from askd.scoring import normalise
from askd.speculative import measure_speculative, plain, speculate
from askd.student import make_student, save_model
from askd.teacher import Recogniser


@pytest.fixture(scope="module", autouse=True)
def short():
    """Untrained students loop until their limit: a low one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("askd.engines.MAX_NEW_TOKENS", 32)
        yield


@pytest.fixture(scope="module")
def prompts():
    """Two real recordings."""
    return load_clips("asterisk_wideband", "test", 2)


@pytest.fixture(scope="module")
def student(tiny_en):
    """Two of four decoder layers, untrained, on the clip's own context."""
    model = make_student(tiny_en.model, 2).eval()
    use_clip_context(model)
    return Recogniser(model, tiny_en.processor)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    """Conversions, made once."""
    return tmp_path_factory.mktemp("conversions")


@pytest.fixture(scope="module")
def engines(tiny_en, student, scratch):
    """Teacher and student in every engine that needs no compiler."""
    kinds = ("transformers", "generate", "ct2", "faster-whisper")
    both = {"teacher": tiny_en, "student": student}
    return {(of, kind): make_engine(kind, model, of, scratch) for kind in kinds for of, model in both.items()}


# ---- engines ----------------------------------------------------------------------------------------------------------


def test_our_loop_and_generate_write_the_same_tokens(engines, prompts, tiny_en):
    samples = [clip.samples() for clip in prompts]
    ours, theirs = (engines["teacher", kind].transcribe(samples).tokens for kind in ("transformers", "generate"))
    assert ours == theirs and all(ours)
    features = pad_features([log_mel(samples[0])], 3000)
    ids = greedy(tiny_en.model, features)[0][0].tolist()
    assert ids[: ids.index(50256)] == ours[0]


def test_ctranslate2_in_float32_writes_the_same_words(tiny_en, prompts, tmp_path):
    from ctranslate2.converters import TransformersConverter

    save_model(*tiny_en, tmp_path / "hf")
    TransformersConverter(str(tmp_path / "hf"), copy_files=["tokenizer.json"]).convert(str(tmp_path / "ct2"))
    ours = Transformers(tiny_en)
    for engine in (kind(tiny_en, "teacher", tmp_path / "ct2", "float32") for kind in (CTranslate, FasterWhisper)):
        for clip in prompts:
            said = [each.text(each.transcribe([clip.samples()]).tokens[0]) for each in (ours, engine)]
            assert normalise(said[0]) == normalise(said[1]) != "", engine.name


def test_a_cut_context_reaches_ctranslate2(engines, prompts):
    samples = prompts[0].samples()[:32_000]
    cut, full = (engines[of, "ct2"] for of in ("student", "teacher"))
    assert cut.features([samples]).shape[-1] < 300 and full.features([samples]).shape[-1] == 3000
    (_, short), (_, whole) = (engine.encode(engine.features([samples])) for engine in (cut, full))
    assert short.shape[1] == cut.features([samples]).shape[-1] // 2 and whole.shape[1] == 1500
    assert cut.transcribe([samples], 8).encoder_s < full.transcribe([samples], 8).encoder_s / 3


@pytest.mark.parametrize("tokens", [1, 9])
def test_a_fixed_count_is_fixed_in_every_engine(engines, prompts, tokens):
    samples = [clip.samples() for clip in prompts[:2]]
    for key, engine in engines.items():
        heard = engine.transcribe(samples, tokens)
        assert [len(ids) for ids in heard.tokens] == [tokens, tokens] and heard.steps == tokens, key
        assert 0 < heard.encoder_s < heard.total_s and 0 <= heard.features_s < heard.total_s


def test_free_running_counts_the_end(engines, prompts):
    for kind in ("transformers", "generate", "ct2", "faster-whisper"):
        heard = engines["teacher", kind].transcribe([prompts[0].samples()])
        assert heard.steps == len(heard.tokens[0]) + 1 and 50256 not in heard.tokens[0]


@pytest.mark.slow
def test_a_compiled_search_writes_the_same_tokens(toy, prompts):
    """The toy, since compiling takes as long as it has layers."""
    samples = [prompts[0].samples()]
    eager, compiled = (ENGINES[kind](Recogniser(toy, None)) for kind in ("generate", "compiled"))
    assert eager.transcribe(samples, 12).tokens == compiled.transcribe(samples, 12).tokens


def test_what_engines_refuse(tiny_en, toy, engines):
    with pytest.raises(UnknownName, match="known are compiled, ct2, faster-whisper, generate, transformers"):
        make_engine("tensorrt", tiny_en)
    for engine in (engines["teacher", "transformers"], engines["teacher", "faster-whisper"]):
        for samples, message in (([], "no clips"), ([np.zeros(0, np.float32)], "clip 0 has 0 s"),
                                 ([np.zeros(16_000, np.float32), np.zeros(31 * 16_000, np.float32)], "clip 1 has 31 s")):
            with pytest.raises(AskdError, match=message):
                engine.transcribe(samples)
        with pytest.raises(AskdError, match=r"tokens must lie in \[1, 224\]"):
            engine.transcribe([np.zeros(16_000, np.float32)], 225)
    with pytest.raises(AskdError, match="2 clips do not fill a batch of 8"):
        measure({"toy": toy}, [np.zeros(16_000, np.float32)] * 2, 8)


@pytest.mark.parametrize(("kind", "package"), [("ct2", "ctranslate2"), ("faster-whisper", "faster_whisper")])
def test_a_missing_package_names_its_extra(kind, package, tiny_en, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, package, None)  # what Python does when it is not installed
    with pytest.raises(AskdError, match=rf"needs {package.replace('_', '-')}.*askd\[export\]"):
        make_engine(kind, tiny_en, "teacher", tmp_path)
    assert not any(tmp_path.iterdir())


# ---- one run ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def report(tiny_en, student, prompts, scratch):
    """A run as small as can be: two engines, a peer, one length, one clip."""
    models = {"teacher": tiny_en, "student": student}
    return compare(models, prompts[:1], ["transformers", "ct2"], {"tiny.en": tiny_en}, [2], [1, 2], 2, 1, scratch)


def test_one_run_gives_one_table(report):
    rows = report["rows"]
    assert len(rows) == 5 * (2 + 2)  # engines and models; a length in two batches, the clip fixed and free, too few for a batch
    fixed = [row for row in rows if row["clips"] == "2 s" and row["batch"] == 1]
    assert len({row["tokens"] for row in fixed}) == 1 and fixed[0]["tokens"] == 7
    of = {(row["model"], row["engine"]): row for row in fixed}
    assert of["teacher", "ct2"]["of_first"] == 1 and of["student", "ct2"]["of_first"] > 3  # 2 s of context against 30
    assert of["tiny.en", "faster-whisper"]["of_first"] is None  # no teacher in that engine
    ratio = of["teacher", "transformers"]["mean_ms"] / of["student", "transformers"]["mean_ms"]
    assert of["student", "transformers"]["of_first"] == pytest.approx(ratio, abs=0.01)
    assert of["teacher", "transformers"]["weights_mb"] == pytest.approx(4 * 37_760_256 / 1e6, rel=0.01)
    assert of["teacher", "ct2"]["weights_mb"] < 45  # a byte a weight
    assert all(row["p50_ms"] <= row["p95_ms"] and 0 < row["encoder_share"] < 1 for row in rows)


def test_each_engine_has_its_own_word_error_rate(report):
    wer = {(each["model"], each["engine"]): each for each in report["wer"]}
    assert set(wer) == {(m, e) for m in ("teacher", "student") for e in ("transformers", "ct2")} | {("tiny.en", "faster-whisper")}
    assert wer["teacher", "transformers"]["wer"] < 30 < wer["student", "transformers"]["wer"]  # two layers untrained
    assert wer["teacher", "ct2"]["domains"].keys() == {"asterisk_wideband"}
    assert all(row["wer"] == wer[row["model"], row["engine"]]["wer"] for row in report["rows"])


def test_the_goals_are_of_the_same_run(report):
    found = {(goal["model"], goal["other"], goal["mode"]): goal for goal in report["goals"]}
    assert {(m, o) for m, o, _ in found} == {("student transformers", "teacher transformers"), ("student ct2", "teacher ct2"),
                                            ("student ct2", "tiny.en faster-whisper")}
    assert {mode for _, _, mode in found} == {"fixed", "free"}
    text = as_text(report)
    assert "student ct2 against tiny.en faster-whisper, fixed tokens" in text and "goal 3x" in text and "RTFx" in text
    assert max(map(len, text.splitlines()[: 1 + len(report["rows"])])) < 130
    json.dumps(report)


def test_the_figure_names_every_point(report):
    figure = pareto(report)
    texts = {text.get_text() for text in figure.axes[0].texts}
    assert texts == {"teacher, transformers", "teacher, ct2", "student, transformers", "student, ct2", "tiny.en, faster-whisper"}
    points = {line.get_gid(): line.get_xydata()[0] for line in figure.axes[0].lines if line.get_gid() != "front"}
    row = next(r for r in report["rows"] if (r["model"], r["engine"], r["batch"], r["mode"]) == ("teacher", "ct2", 1, "free"))
    assert points["teacher ct2"].tolist() == [row["p50_ms"], row["wer"]]
    plt.close(figure)
    with pytest.raises(AskdError, match="no rows of test clips"):
        pareto({"rows": []})


def test_the_front_is_what_nobody_beats():
    assert front([(2, 5), (1, 9), (9, 1), (3, 5), (4, 8)]) == [(1, 9), (2, 5), (9, 1)]


def test_a_run_without_clips_is_refused(tiny_en, student):
    with pytest.raises(AskdError, match="no test clips"):
        compare({"teacher": tiny_en, "student": student}, [], ["transformers"])


def test_an_engine_that_breaks_is_named_and_left_out(tiny_en, student, prompts, monkeypatch):
    def breaks(self, encoded, tokens):
        raise RuntimeError("no C++ compiler\nand much more")

    monkeypatch.setattr(Generate, "decode", breaks)
    found = compare({"teacher": tiny_en}, prompts[:1], ["transformers", "generate"], None, [], [1], 1, 1)
    assert found["failed"] == {"teacher generate": "RuntimeError: no C++ compiler"}
    assert {row["engine"] for row in found["rows"]} == {"transformers"}
    assert "could not run: teacher generate: RuntimeError: no C++ compiler" in as_text(found)


def test_the_parts_multiply_to_the_whole(tiny_en, student, prompts, scratch):
    rows = speedup_parts(tiny_en, student, [prompts[0].samples()], [6], 2, "ct2", scratch)
    assert [row["change"] for row in rows] == ["teacher", "clip's own context", "2 of 4 decoder layers", "engine ct2"]
    assert [row["engine"] for row in rows] == ["transformers"] * 3 + ["ct2"]
    assert np.prod([row["times"] for row in rows]) == pytest.approx(rows[-1]["of_teacher"], rel=0.05)
    assert rows[1]["times"] > 1.5  # the encoder no longer listens to padding
    assert "2 of 4 decoder layers" in parts_text(rows)
    same = speedup_parts(tiny_en, tiny_en, [prompts[0].samples()], [2], 1, None)
    assert [row["change"] for row in same] == ["teacher"]  # nothing differs


def test_parts_need_a_student_of_that_teacher(tiny_en, toy, prompts):
    with pytest.raises(AskdError, match="32 wide and the teacher 384"):
        speedup_parts(tiny_en, Recogniser(toy, None), [prompts[0].samples()], [6])


# ---- bounds -----------------------------------------------------------------------------------------------------------


def test_the_bound_is_the_closed_form():
    """d 4, feed-forward 16, vocabulary 10, one layer each, 8 frames: 4 positions."""
    from transformers import WhisperConfig

    config = WhisperConfig(d_model=4, encoder_ffn_dim=16, decoder_ffn_dim=16, vocab_size=10, encoder_layers=1, decoder_layers=1,
                           encoder_attention_heads=1, decoder_attention_heads=1, num_mel_bins=2, pad_token_id=0, bos_token_id=0,
                           eos_token_id=0, decoder_start_token_id=1)
    layer = 6 * 16 + 2 * 4 * 16  # weights of a decoder layer that a step reads
    assert step_weights(config) == layer + 40
    encoder = 2 * (3 * 2 * 4) * 8 + 2 * (3 * 16) * 4 + 2 * (4 * 16 + 2 * 4 * 16) * 4 + 4 * 4 * 4 * 4
    fast_memory = bound_ms(config, 8, 2, Rates(1e3, 1e99), prompt=2)  # operations alone count, 1 a millisecond
    assert fast_memory["encoder"] == pytest.approx(encoder)
    keys = 2 * (2 * 16) * 4
    first = 2 * (2 * layer + 40) + 4 * 2 * 4 * (2 + 4)  # two prompt tokens see 2 + 4 positions
    second = 2 * (layer + 40) + 4 * 4 * (3 + 4)
    assert fast_memory["decoder"] == pytest.approx(keys + first + second)
    fast_products = bound_ms(config, 8, 2, Rates(1e99, 1e3), prompt=2, size=4)  # bytes alone count
    read = 2 * 4 * (layer + 40) + 2 * 4 * 4 * ((2 + 4) + (3 + 4))
    assert fast_products["decoder"] == pytest.approx(4 * 2 * 16 + read)
    assert fast_products["encoder"] == pytest.approx(4 * (3 * 4 * 2 + 3 * 16 + 4 * 16 + 2 * 4 * 16))


def test_nothing_is_faster_than_the_bound(tiny_en, prompts):
    rates = measure_rates(4 * step_weights(tiny_en.model.config), seconds=0.1)
    assert rates.flops > 1e9 and rates.bandwidth > 1e8
    found = against_bound(Transformers(tiny_en, "teacher"), prompts[0].samples(), 5, rates, repeats=1)
    assert found["frames"] == 3000 and found["tokens"] == 5
    for part in ("encoder", "decoder"):
        assert 0.5 < found[part]["times"] < 20, found  # not below 1 but for what noise does to the rates


# ---- speculative decoding ---------------------------------------------------------------------------------------------


def test_a_draft_never_changes_the_teachers_words(tiny_en, student, prompts):
    same_encoder = make_student(tiny_en.model, 2).eval()
    for clip in prompts:
        samples = clip.samples()
        ids = greedy(tiny_en.model, pad_features([log_mel(samples)], 3000))[0][0].tolist()
        expected = ids[: ids.index(50256)]
        assert plain(tiny_en.model, samples).tokens == expected
        for draft, shares in ((same_encoder, None), (student.model, False)):
            assert speculate(tiny_en.model, draft, samples, shares_encoder=shares).tokens == expected


def test_the_acceptance_is_counted(tiny_en, student, prompts):
    samples = prompts[0].samples()
    alone = plain(tiny_en.model, samples)
    assert alone.drafted == alone.accepted == 0 and alone.rounds == len(alone.tokens) + 1
    itself = speculate(tiny_en.model, tiny_en.model, samples, drafted=3)
    assert itself.accepted >= itself.drafted - 1 and itself.rounds < alone.rounds / 2  # it agrees with itself
    other = speculate(tiny_en.model, student.model, samples, drafted=3)
    assert other.rounds + other.accepted == len(other.tokens) + 1 and 0 <= other.accepted <= other.drafted
    found = measure_speculative(tiny_en.model, student.model, [samples], 1)
    assert found["same_tokens"] == found["clips"] == 1 and 0 <= found["acceptance"] <= 1 and found["shares_encoder"]


def test_drafts_that_cannot_be(tiny_en, toy, prompts):
    other = random_whisper("tiny")
    with pytest.raises(AskdError, match="do not speak the same tokens"):
        speculate(tiny_en.model, other, prompts[0].samples())
    with pytest.raises(AskdError, match="drafted must be at least 1"):
        speculate(tiny_en.model, tiny_en.model, prompts[0].samples(), drafted=0)
    with pytest.raises(AskdError, match="no clips"):
        measure_speculative(tiny_en.model, tiny_en.model, [])


# ---- shapes -----------------------------------------------------------------------------------------------------------


def test_shapes_are_those_of_whisper(tiny_en):
    known = tiny_en.model.config
    for field in ("d_model", "encoder_layers", "decoder_layers", "vocab_size", "decoder_ffn_dim", "encoder_attention_heads"):
        assert getattr(shape_config("tiny.en"), field) == getattr(known, field)
    for model in (tiny_en.model, random_whisper("tiny.en")):  # the vocabulary once
        assert parameters(known) == sum(p.numel() for p in model.parameters())
    assert round(parameters(shape_config("large-v2")) / 1e6) == 1543


def test_a_view_is_a_student_that_costs_no_memory(tiny_en):
    view = cut_view(tiny_en.model, 2, clip_context=True)
    assert len(view.model.decoder.layers) == 2 and len(tiny_en.model.model.decoder.layers) == 4
    ours, theirs = ({p.data_ptr() for p in m.parameters()} for m in (view, tiny_en.model))
    assert ours < theirs
    assert not hasattr(tiny_en.model.config, "askd_context") and tiny_en.model.config.decoder_layers == 4
    cut = make_student(tiny_en.model, [0, 1]).eval()
    features = torch.randn(1, 80, 200, generator=torch.Generator().manual_seed(0))
    assert torch.equal(greedy(view, features, 5, True)[0], greedy(cut, features, 5, True)[0])


def test_the_papers_scale_in_small(capsys, tmp_path):
    out = tmp_path / "shape.json"
    assert main(["latency", "--shape", "tiny.en", "--decoder-layers", "4", "1", "--audio-s", "2", "--repeats", "2",
                 "--out", str(out)]) == 0
    found = json.loads(out.read_text())
    rows = {(row["decoder_layers"], row["context"]): row for row in found["rows"]}
    assert set(rows) == {(4, "full"), (4, "clip"), (1, "full"), (1, "clip")} and rows[4, "full"]["times"] == 1
    assert {row["tokens"] for row in found["rows"]} == {7}
    assert rows[1, "clip"]["times"] > rows[1, "full"]["times"] > 0.9 and rows[1, "clip"]["times"] > 2
    assert found["provenance"]["machine"]["threads"] >= 1 and found["dtype"] in ("bfloat16", "float32")
    printed = capsys.readouterr().out
    assert "*paper*: 5.8x" in printed and "*paper*: 5x" in printed and shapes_text(found) in printed


def test_shapes_that_cannot_be():
    with pytest.raises(UnknownName, match="unknown shape 'large' "):
        shape_speedup("large")
    with pytest.raises(AskdError, match="4 decoder layers: a student can keep 1 to 4 of them, not 5"):
        shape_speedup("tiny.en", [5])
    with pytest.raises(AskdError, match="at most 30 s, not 31 s"):
        shape_speedup("tiny.en", [2], [31])


# ---- the command ------------------------------------------------------------------------------------------------------


def test_the_command_writes_everything(student, tmp_path, capsys):
    save_model(*student, tmp_path / "student")
    out, figure = tmp_path / "latency.json", tmp_path / "pareto.png"
    assert main(["latency", "--student", str(tmp_path / "student"), "--engines", "transformers", "--data", "asterisk_wideband",
                 "--clips", "1", "--audio-s", "2", "--batch", "1", "--repeats", "1", "--clip-repeats", "1", "--out", str(out),
                 "--figure", str(figure)]) == 0
    found = json.loads(out.read_text())
    assert {"rows", "wer", "goals", "parts", "bound", "provenance", "machine", "scorer"} <= set(found)
    assert [row["change"] for row in found["parts"]["student"]][1:] == ["clip's own context", "2 of 4 decoder layers"]
    assert figure.is_file() and figure.with_suffix(".svg").is_file()
    printed = capsys.readouterr().out
    assert "measured / bound" in printed and "times the teacher" in printed and "RTFx" in printed
    assert main(["latency", "--student", str(tmp_path / "student"), "--data", "asterisk_wideband", "--clips", "1",
                 "--speculative", "--clip-repeats", "1"]) == 0
    assert "same tokens in 1 of 1 clips" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--student", "tiny.en", "--engines", "transformer"], "unknown engine 'transformer' (did you mean 'transformers'?)"),
        (["--student", "tiny.en", "--peers", "bass"], "unknown model 'bass' (did you mean 'base'?)"),
        (["--student", "tiny.en", "--peers", *["tiny.en"] * 2], "would call models teacher, student, tiny.en, tiny.en"),
        (["--student", "tiny.en", "tiny.en"], "the tables would call models teacher, tiny.en, tiny.en: names must differ"),
        (["--student", "tiny.en", "base", "--name", "one"], "1 --name for 2 --student"),
        (["--student", "tiny.en", "--clips", "0"], "--clips must be at least 1"),
        (["--student", "tiny.en", "--batch", "0"], "--batch must be at least 1"),
        (["--student", "tiny.en", "--audio-s", "0"], "--audio-s must be more than 0 and at most 30 s"),
        (["--student", "tiny.en", "--audio-s", "31"], "--audio-s must be more than 0 and at most 30 s"),
        (["--student", "tiny.en", "--data", "telefone"], "unknown domain 'telefone'"),
        (["--student", "tiny.en", "--decoder-layers", "2"], "--decoder-layers belongs to --shape"),
        (["--shape", "huge"], "unknown shape 'huge'"),
        (["--shape", "tiny.en", "--figure", "x"], "--figure draws word error rates"),
    ],
)
def test_mistakes_on_the_command_line(arguments, message, capsys):
    assert main(["latency", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error


# ---- what is committed of it ------------------------------------------------------------------------------------------

RESULTS = data_dir() / "results" / "latency"


def test_committed_tables_say_what_was_measured():
    found = read_latency(RESULTS)
    one = found["batch1"]
    free = [row for row in one["rows"] if (row["clips"], row["batch"], row["mode"]) == (TEST, 1, "free")]
    assert {row["model"] for row in free} == {"teacher", *one["students"], "base"}
    lines = engines_table(one, 1).splitlines()
    assert len(lines) == 2 + len(free) and lines[2].startswith("| teacher | transformers |")
    assert f"| {free[-1]['wer']:.3g} |" in lines[-1]
    assert goals_table(one).count("\n") == 1 + len(one["goals"]) // 2  # fixed alone; free-running ones are in the file
    text = details(found)
    for part in ("By length", "Batch 8", "compiled", "Where the speed comes from", "Speculative", "large-v2", "*paper*: 5.8x"):
        assert part in text
    assert "None" not in text and "nan" not in text


def test_committed_latencies_fulfil_their_identities():
    found = read_latency(RESULTS)
    for name in ("batch1", "batch8", "compiled"):
        report = found[name]
        assert report["failed"] == {} and not report["provenance"]["changed"]
        times = {(r["model"], r["engine"], r["batch"], r["clips"], r["mode"]): r["mean_ms"] for r in report["rows"]}
        for row in report["rows"]:
            if row["model"] in report["students"]:
                same = times["teacher", row["engine"], row["batch"], row["clips"], row["mode"]]
                assert row["of_first"] == pytest.approx(same / row["mean_ms"], abs=0.01)
        for parts in report["parts"].values():
            assert np.prod([part["times"] for part in parts]) == pytest.approx(parts[-1]["of_teacher"], rel=0.03)
    for each in found["speculative"]["speculative"].values():
        assert each["speedup"] == pytest.approx(each["plain_ms"] / each["speculative_ms"], abs=0.01)


def test_results_that_are_not_there_are_named(tmp_path):
    with pytest.raises(RunError, match=r"has no batch1.json, .*large-v2.json: make latency measures them"):
        read_latency(tmp_path)


def test_the_figure_of_the_papers_scale():
    found = read_latency(RESULTS)["large-v2"]
    figure = scale(found)
    lines = {line.get_gid(): line for ax in figure.axes for line in ax.lines if line.get_gid()}
    full = {r["decoder_layers"]: r["times"] for r in found["rows"] if (r["clips"], r["context"]) == ("30 s", "full")}
    assert lines["30 s full"].get_ydata() == pytest.approx([full[count] for count in sorted(full, reverse=True)])
    assert "30 s clip" not in lines  # there the context is the clip
    plt.close(figure)
