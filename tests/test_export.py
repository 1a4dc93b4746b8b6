"""Exports, used as people use them: transformers' pipeline, faster-whisper, CTranslate2, onnxruntime; on real speech."""

import json
import shutil
import sys

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file

from askd.cli import main
from askd.ct2export import check_ct2
from askd.decoding import context_frames, greedy, in_context, prompt_ids, transcribe, use_clip_context
from askd.domains import load_clips
from askd.errors import AskdError, UnknownName
from askd.export import check_hub_name, export, upload
from askd.features import FULL_CONTEXT, log_mel
from askd.files import project_dir, read_json, write_json
from askd.finished import finished
from askd.modelcard import known, model_card
from askd.onnxmodel import OnnxWhisper
from askd.scoring import normalise, word_errors
from askd.student import make_student
from askd.teacher import load_teacher
from askd.training import save_model


@pytest.fixture(scope="module")
def spoken():
    """Two prompts of a real voice, two synthetic clips."""
    return [clip.samples() for name in ("asterisk_wideband", "neural_clean") for clip in load_clips(name, "test", 2)]


@pytest.fixture(scope="module")
def student(tiny_en, tmp_path_factory):
    """tiny.en with every layer, marked as a student: its words are real, and its context is the clip's."""
    folder = tmp_path_factory.mktemp("models") / "student"
    model = make_student(tiny_en.model, decoder_layers=None).eval()
    use_clip_context(model)
    save_model(model, tiny_en.processor, folder)
    return folder


@pytest.fixture(scope="module")
def exported(student, spoken, tmp_path_factory):
    """Each form, exported once when it is asked for."""
    place, done = tmp_path_factory.mktemp("exports"), {}

    def folder(to, compute=None):
        name = f"{to}-{compute}"
        if name not in done:
            done[name] = export(student, to, place / name, spoken[0], compute)
        return place / name, done[name]

    return folder


@pytest.fixture
def small(toy, tiny_en, tmp_path):
    save_model(toy, tiny_en.processor, tmp_path / "small")
    return tmp_path / "small"


# ---- transformers -----------------------------------------------------------------------------------------------------


def test_the_pipeline_loads_an_export_unchanged(exported, student, tiny_en, spoken):
    from transformers import pipeline

    folder, found = exported("hf")
    recognise = pipeline("automatic-speech-recognition", model=str(folder), device="cpu")
    texts = [recognise({"raw": clip, "sampling_rate": 16_000})["text"] for clip in spoken]
    ours = transcribe(*load_teacher(student), spoken, frames=FULL_CONTEXT)
    assert [normalise(text) for text in texts] == [normalise(decoded.text) for decoded in ours]
    assert found["text"] == ours[0].text and len(found["text"].split()) > 1
    assert load_file(folder / "model.safetensors").keys() == load_file(student / "model.safetensors").keys()
    assert context_frames(load_teacher(folder).model) is None  # askd still knows it for a student


# ---- CTranslate2 ------------------------------------------------------------------------------------------------------


def test_faster_whisper_writes_our_words(exported, student, spoken):
    from faster_whisper import WhisperModel

    folder, found = exported("ct2")
    assert found["encoder_cosine"] > 0.99 and found["same_words"] and found["compute"] == "int8"
    whisper = WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=1)
    texts = ["".join(s.text for s in whisper.transcribe(clip, beam_size=1, temperature=0.0)[0]) for clip in spoken]
    ours = [decoded.text for decoded in transcribe(*load_teacher(student), spoken, frames=FULL_CONTEXT)]
    errors = word_errors(ours, texts)
    assert errors.words.sum() > 15 and errors.errors.sum() <= 1  # int8 may change a word


def test_ctranslate2_hears_the_clips_own_length(exported, student, spoken):
    import ctranslate2

    folder, _ = exported("ct2", "float32")
    model, _ = load_teacher(student)
    whisper, end = ctranslate2.models.Whisper(str(folder), device="cpu", compute_type="float32", intra_threads=1), 50256
    for clip in spoken:
        features = in_context([log_mel(clip)], None)  # (1, M, T)
        encoded = whisper.encode(ctranslate2.StorageView.from_array(features.numpy()), to_cpu=True)
        assert encoded.shape[1] == features.shape[-1] // 2 < 1500
        theirs = whisper.generate(encoded, [prompt_ids(model)], beam_size=1, max_length=40)[0].sequences_ids[0]
        ours = [token for token in greedy(model, features, 40)[0][0].tolist() if token != end]
        shared = min(len(ours), len(theirs), 36)  # a limit of theirs counts the prompt
        assert shared > 2 and ours[:shared] == theirs[:shared]


def test_weights_are_stored_as_asked(small, tmp_path):
    kinds = ("int8", "float16", "float32")
    sizes = [export(small, "ct2", tmp_path / kind, compute=kind)["megabytes"] for kind in kinds]
    assert sizes == sorted(set(sizes))
    with pytest.raises(UnknownName, match="known are bfloat16, float16"):
        export(small, "ct2", tmp_path / "x", compute="int4")
    with pytest.raises(AskdError, match="compute is of ct2 alone"):
        export(small, "hf", tmp_path / "x", compute="int8")
    assert not (tmp_path / "x").exists()


def test_a_conversion_of_another_model_is_found_out(small, tiny_en, spoken, tmp_path):
    found = export(small, "ct2", tmp_path / "ct2", spoken[0])
    assert found["encoder_cosine"] > 0.97 and (tmp_path / "ct2" / "model.bin").is_file()
    other = load_teacher(small).model
    other.model.encoder.layer_norm.weight.data.mul_(-1)
    with pytest.raises(AskdError, match="does not agree"):
        check_ct2(other, tiny_en.processor, tmp_path / "ct2", spoken[0])


# ---- ONNX -------------------------------------------------------------------------------------------------------------


def test_the_graphs_write_the_models_tokens(exported, student, spoken):
    folder, found = exported("onnx")
    assert found["same_words"] and found["log_prob_difference"] < 1e-3
    model, processor = load_teacher(student)
    graphs = OnnxWhisper(folder, threads=1)
    features = [log_mel(clip) for clip in spoken]
    for batch, frames in ((features[:1], None), (features[1:2], 501), (features[2:], None), (features[3:], FULL_CONTEXT)):
        heard = in_context(batch, frames)  # any number of utterances, any context
        tokens, log_probs = greedy(model, heard, 30)
        theirs, their_log_probs = graphs.greedy(heard.numpy(), 30)
        assert np.array_equal(tokens.numpy(), theirs)
        np.testing.assert_allclose(log_probs.numpy(), their_log_probs, atol=1e-3)
    assert graphs.transcribe(spoken[:2]) == [decoded.text for decoded in transcribe(model, processor, spoken[:2], batch_size=1)]


def test_an_onnx_folder_is_complete_and_names_no_path(exported, student):
    folder, found = exported("onnx")
    files = {path.name for path in folder.iterdir()}
    assert {"encoder.onnx", "encoder.onnx.data", "decoder.onnx", "decoder.onnx.data", "config.json", "generation_config.json",
            "tokenizer.json", "processor_config.json", "README.md"} <= files
    for name in ("encoder.onnx", "decoder.onnx"):
        assert b"site-packages" not in (folder / name).read_bytes()
    assert read_json(folder / "askd.json")["checked"]["log_prob_difference"] == found["log_prob_difference"]
    weights = sum(path.stat().st_size for path in folder.glob("*.data"))
    assert weights == pytest.approx((student / "model.safetensors").stat().st_size, rel=0.02)  # nothing is there twice


def test_graphs_of_another_model_and_broken_ones_are_found_out(exported, student, tiny_en, spoken, tmp_path):
    from askd.onnxexport import check_onnx

    folder, _ = exported("onnx")
    other = load_teacher(student).model
    other.model.decoder.layers[2].encoder_attn.out_proj.weight.data.mul_(-1)
    with pytest.raises(AskdError, match="do not agree"):
        check_onnx(other, tiny_en.processor, folder, spoken[0])
    shutil.copytree(folder, tmp_path / "cut")
    (tmp_path / "cut" / "decoder.onnx").write_bytes((folder / "decoder.onnx").read_bytes()[:1000])
    for broken in (tmp_path / "cut", tmp_path / "nothing"):
        with pytest.raises(AskdError, match="no whole ONNX export"):
            OnnxWhisper(broken)


# ---- which student ----------------------------------------------------------------------------------------------------


@pytest.fixture
def course(small, tmp_path):
    """A run folder as `askd reproduce` leaves it, with the committed results of this project."""
    run = tmp_path / "cpu"
    for method in ("askd", "ce_only"):
        shutil.copytree(small, run / "students" / method)
    for name in ("wer", "latency"):
        (run / "results").mkdir(exist_ok=True)
        shutil.copy(project_dir() / "data" / "results" / "cpu" / f"{name}.json", run / "results")
    clips = {"clips": 77, "minutes": 4.2, "speakers": 1}
    write_json(run / "students" / "askd" / "training.json", {
        "config": {"method": "askd", "steps": 96, "batch_size": 16, "decoder_layers": 4, "seed": 0}})
    write_json(run / "students" / "askd" / "run.json", {
        "teacher": "tiny.en-12ab34cd",
        "data": {"clips": 154, "hours": 0.14, "domains": {"neural_clean": clips, "common_voice": clips}}})
    return run


def test_a_run_and_a_method_name_a_student(course, small):
    assert finished(f"{course}:askd").model == course / "students" / "askd"
    assert finished(course / "students" / "ce_only").name == "ce_only"
    assert finished(small).model == finished(small).run == small
    assert finished("tiny.en").name == "tiny.en"
    with pytest.raises(AskdError, match=r"several students: say .*cpu:askd or .*cpu:ce_only"):
        finished(course)
    with pytest.raises(UnknownName, match=r"finished student of .*cpu 'akd' \(did you mean 'askd'\?\)"):
        finished(f"{course}:akd")
    with pytest.raises(AskdError, match="no finished model"):
        finished(course.parent)
    course.rename(course.parent / "seed-1")
    with pytest.raises(AskdError, match=r"seed-1:askd or .*seed-1:ce_only"):
        finished(course.parent)


# ---- the card ---------------------------------------------------------------------------------------------------------


def test_the_card_gives_the_hub_every_word_error_rate(course):
    text = model_card(f"{course}:askd")
    card = ModelCard(text)
    wer = read_json(course / "results" / "wer.json")["models"]["askd"]["domains"]
    results = card.data.eval_results
    assert {r.dataset_name: r.metric_value for r in results} == {name: row["wer"] for name, row in wer.items()}
    assert {(r.task_type, r.metric_type) for r in results} == {("automatic-speech-recognition", "wer")}
    index = card.data.to_dict()["model-index"]
    assert len(index) == 1 and index[0]["results"][0].keys() >= {"task", "dataset", "metrics"}
    assert card.data.base_model == "openai/whisper-tiny.en" and card.data.license == "mit" and card.data.language == "en"
    for part in (
        "# A student of openai/whisper-tiny.en", "ASKD", "96 steps of 16 clips", "| neural_clean | 77 | 4.2 | 1 |",
        "| neural_clean | 20 |", "| all, unweighted mean |", "ASKD makes fewer errors than the teacher", "2 threads",
        "| test set | 5.2 | 1 | equal count | transformers | 270 | 83 | 3.2 |", "## Intended use", "## Limits",
        "- Trained on: common_voice (CC0", "it was not tested on other voices",
    ):
        assert part in text, part
    assert str(course) not in text and "- Trained on: neural_clean" not in text  # nobody's speech


def test_the_card_counts_hypotheses_where_no_table_is(course):
    (course / "results" / "wer.json").unlink()
    assert not known(finished(f"{course}:askd")).wer and "## Word error rate" not in model_card(f"{course}:askd")
    for name, said in {"teacher": "one too", "askd": "one two"}.items():
        place, row = course / "results" / "hypotheses" / f"{name}.jsonl", {"domain": "mine", "id": "1", "speaker": "a"}
        place.parent.mkdir(exist_ok=True)
        place.write_text(json.dumps(row | {"reference": "one two", "hypothesis": said, "audio_s": 1.0}) + "\n")
    results = ModelCard(model_card(f"{course}:askd")).data.eval_results
    assert [(r.dataset_name, r.metric_value) for r in results] == [("mine", 0.0)]
    assert "too few recordings for a verdict" in model_card(f"{course}:askd")


def test_a_card_leaves_out_what_nobody_knows(small):
    for to, library in (("hf", "transformers"), ("ct2", "ctranslate2"), ("onnx", "onnx")):
        text = model_card(small, to)
        data = ModelCard(text).data
        assert data.library_name == library and data.license == "unknown" and not data.eval_results and not data.base_model
        assert not any(part in text for part in ("## Training", "## Word error rate", "## Latency", "None"))
    assert "not recorded" in text and "no test of it" in text
    assert "MIT (OpenAI)" in (stock := model_card("tiny.en")) and ModelCard(stock).data.base_model == "openai/whisper-tiny.en"
    (small / "README.md").write_text("---\nlicense: apache-2.0\n---\n# Of somebody else\n")
    assert model_card(small) == (small / "README.md").read_text()


def test_the_card_names_what_was_trained_on(small, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(small, run / "student")
    train = {"method": "constant_kd", "steps": 3, "batch_size": 2, "decoder_layers": 4, "seed": 0}
    plan = {"asked": {"teacher": "tiny.en", "data": ["mine", "else"]}, "train": train, "use": {"train": 9},
            "licences": {"openslr/librispeech_asr": "CC BY 4.0", "mine": ""}}
    write_json(run / "plan.json", plan)
    card = model_card(run)
    assert "base_model: openai/whisper-tiny.en" in card and "license: mit" in card and "ASKD" not in card
    assert "- Trained on: openslr/librispeech_asr (CC BY 4.0)" in card and "else" not in card
    assert "9 recordings;\n3 steps of 2 clips" in card
    write_json(run / "plan.json", plan | {"train": train | {"method": "askd"}})
    assert "ASKD" in model_card(run) and model_card(run) == model_card(run / "student")


# ---- bad input --------------------------------------------------------------------------------------------------------


def test_exports_refuse_what_they_cannot_do(small, tmp_path, monkeypatch):
    with pytest.raises(UnknownName, match="ct2, hf, onnx"):
        export(small, "onx", tmp_path / "x")
    with pytest.raises(AskdError, match="no finished model"):
        export(tmp_path / "nothing", "hf", tmp_path / "x")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("keep me")
    for to in ("hf", "ct2", "onnx"):
        with pytest.raises(AskdError, match="not empty"):
            export(small, to, tmp_path / "full")
    assert (tmp_path / "full" / "mine.txt").read_text() == "keep me"
    for to, module in (("ct2", "ctranslate2.converters"), ("onnx", "onnxscript"), ("onnx", "onnxruntime")):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, module, None)  # as where it is not installed
            with pytest.raises(AskdError, match=r"not installed: pip install 'askd\[export\]'"):
                export(small, to, tmp_path / "x")
    assert not (tmp_path / "x").exists()


def cut(folder):
    whole_file = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole_file[: len(whole_file) // 2])


def no_json(folder):
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_text("{}")


def lacks_a_layer(folder):
    weights = load_file(folder / "model.safetensors")
    kept = {name: value for name, value in weights.items() if ".layers.1." not in name}
    save_file(kept, folder / "model.safetensors", {"format": "pt"})


def not_a_number(folder):
    weights = load_file(folder / "model.safetensors")
    weights["model.encoder.conv1.weight"][0] = torch.nan
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def no_tokenizer(folder):
    (folder / "tokenizer.json").unlink()


def no_generation_config(folder):
    (folder / "generation_config.json").unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [(cut, "cannot be loaded as a Whisper"), (no_json, "cannot be loaded as a Whisper"), (lacks_a_layer, r"lacks \d+ weights"),
     (not_a_number, "not numbers, in model.encoder.conv1.weight"), (no_tokenizer, "copy tokenizer.json"),
     (no_generation_config, r"no generation_config\.json of Whisper")],
)
def test_damaged_models_are_refused_in_one_line(small, tmp_path, damage, message):
    damage(small)
    for to in ("hf", "ct2", "onnx") if damage is cut else ("hf",):
        with pytest.raises(AskdError, match=message) as refusal:
            export(small, to, tmp_path / "x")
        assert len(str(refusal.value).splitlines()) == 1 and str(refusal.value).startswith(f"{small} ")
    assert [path.name for path in tmp_path.iterdir()] == ["small"]  # nothing half-written


def test_an_interrupted_export_leaves_nothing(small, tmp_path, monkeypatch):
    def stop(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("askd.ct2export.check_ct2", stop)
    with pytest.raises(KeyboardInterrupt):
        export(small, "ct2", tmp_path / "x")
    assert [path.name for path in tmp_path.iterdir()] == ["small"]


# ---- the Hub ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def nobody(monkeypatch, tmp_path):
    """A user who never logged in."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_OIDC_RESOURCE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no-token"))


def test_without_a_login_the_export_stays_and_the_message_says_how(small, tmp_path, nobody, capsys):
    out = tmp_path / "shipped"
    arguments = ["export", str(small), "--to", "hf", "--out", str(out), "--push-to-hub", "me/mine"]
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert "hf auth login" in printed.err and f"hf upload me/mine {out}" in printed.err
    assert "written" in printed.out and load_teacher(out).model.config.d_model == 32
    before = {path.name for path in tmp_path.iterdir()}
    assert main([*arguments[:-1], "me/mine/too"]) == 2 and "OWNER/NAME" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == before
    with pytest.raises(AskdError, match="OWNER/NAME"):
        check_hub_name("a..b")


def test_without_a_network_the_export_stays(nobody, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_TOKEN", "hf_of_somebody")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    (tmp_path / "README.md").touch()
    with pytest.raises(AskdError, match=r"not uploaded .*hf auth whoami.*hf upload me/mine") as refusal:
        upload(tmp_path, "me/mine")
    assert "hf_of_somebody" not in str(refusal.value)


# ---- the command ------------------------------------------------------------------------------------------------------


def test_the_command_says_what_it_wrote_and_checked(exported, student, tmp_path, capsys):
    out = tmp_path / "shipped"
    assert main(["export", str(student), "--to", "ct2", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert f"{out}: ct2, " in printed and "the same words as transformers, encoder cosine 0.99" in printed
    assert f'WhisperModel("{out}"' in printed
    assert main(["export", str(student), "--to", "onx", "--out", str(tmp_path / "x")]) == 2
    error = capsys.readouterr().err
    assert "did you mean 'onnx'" in error and len(error.strip().splitlines()) == 1
    assert main(["export", str(student), "--to", "hf", "--out", str(tmp_path / "x"), "--audio", str(out / "model.bin")]) == 2
    assert "model.bin" in capsys.readouterr().err and not (tmp_path / "x").exists()
