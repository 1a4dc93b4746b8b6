"""Any CSV, any length, any broken file, and hypotheses that can be scored again without a model."""

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import soxr

from askd.cli import main
from askd.domains import load_clips
from askd.errors import AskdError, AudioError, ManifestError
from askd.evaluation import evaluate_models, hypotheses, read_manifest, scored_clips
from askd.files import read_json, write_json
from askd.latency import measure, of_length, speedup
from askd.rows import read_rows
from askd.scoring import domain_table, word_errors
from askd.wer import wer_report


@pytest.fixture
def manifest(tmp_path, clips):
    lines = ["path,text,domain,speaker,duration_s"]
    for i, clip in enumerate(clips[:4]):
        samples, name = clip.samples(), f"clip {i}.wav"
        soundfile.write(tmp_path / name, np.stack([samples, samples], 1)[::2] if i else samples, 8000 if i else 16000)
        lines.append(f'{name},"{clip.text}",mine,{clip.speaker},{clip.audio_s:.2f}')
    path = tmp_path / "mine.csv"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_any_model_on_any_csv(tiny_en, manifest, tmp_path):
    report = evaluate_models({"tiny.en": tiny_en}, read_manifest(manifest), tmp_path / "out", progress=False)
    saved = json.loads((tmp_path / "out" / "wer.json").read_text())
    assert saved == json.loads(json.dumps(report))
    entry = saved["models"]["tiny.en"]["domains"]["mine"]
    assert entry["utterances"] == 4 and 0 <= entry["wer"] < 60
    assert entry["errors"] == entry["sub"] + entry["del"] + entry["ins"]
    rows = read_rows(tmp_path / "out" / "hypotheses" / "tiny.en.jsonl")
    fields = {"domain", "id", "speaker", "reference", "hypothesis", "seconds", "log_probs", "ended", "word_tokens"}
    assert all(set(row) == fields and len(row["word_tokens"]) == len(row["hypothesis"].split()) for row in rows)
    assert all(sum(row["word_tokens"]) <= len(row["log_probs"]) - row["ended"] for row in rows)
    assert domain_table(rows, {"mine": "out_of_domain"})["mine"] | {"wer_ci95": entry["wer_ci95"]} == entry
    assert "jiwer" in saved["scorer"] and "normaliser" in saved["scorer"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name,text\na.wav,hello", "no column path"),
        ("path,words\na.wav,hello", "no column text"),
        ("path,text\nmissing.wav,hello", r"row 2, column path: .*missing\.wav does not exist"),
        ("path,text\nclip 0.wav,hello\nclip 1.wav,", "row 3, column text: empty transcript"),
        ("path,text\n,hello", "row 2, column path: empty"),
        ("path,text\n", "no rows"),
        ("", "no column"),
    ],
)
def test_bad_manifests_are_named_with_row_and_column(manifest, content, message):
    bad = manifest.with_name("bad.csv")
    bad.write_text(content, encoding="utf-8")
    with pytest.raises(ManifestError, match=message):
        read_manifest(bad)


def test_not_utf8_and_missing(manifest):
    bad = manifest.with_name("latin.csv")
    bad.write_bytes("path,text\nclip 0.wav,café".encode("latin-1"))
    with pytest.raises(ManifestError, match="not UTF-8"):
        read_manifest(bad)
    with pytest.raises(ManifestError, match="cannot be read"):
        read_manifest(manifest.with_name("nowhere.csv"))


def test_broken_recordings_are_all_named_with_their_rows_or_skipped_and_counted(manifest, tmp_path, capsys):
    (tmp_path / "clip 1.wav").write_bytes(b"not audio at all")
    (tmp_path / "clip 3.wav").write_bytes(b"")
    with pytest.raises(AudioError) as error:
        read_manifest(manifest)
    said = str(error.value).splitlines()
    assert said[0] == "2 of 4 recordings cannot be used; mend them, or leave them out with skip_bad (--skip-bad):"
    assert said[1].startswith("  mine.csv, row 3: ") and "clip 1.wav: cannot be read as audio" in said[1]
    assert said[2].startswith("  mine.csv, row 5: ") and "clip 3.wav" in said[2] and len(said) == 3
    assert [clip.id for clip in read_manifest(manifest, skip_bad=True)] == ["clip 0.wav", "clip 2.wav"]
    assert "left out 2 of 4" in (said := capsys.readouterr().out) and "row 3: " in said and "row 5: " in said


def test_references_without_words_are_named_with_everything_else(manifest, capsys):
    table = manifest.with_name("t.csv")
    texts = ("Hello there.", "[noise]", "(laughter)", "Um")
    rows = [*(f"clip {i}.wav,{text}" for i, text in enumerate(texts)), "gone.wav,yes", "clip 0.wav,again"]
    table.write_text("\n".join(["path,text", *rows]), encoding="utf-8")
    with pytest.raises(ManifestError) as error:
        read_manifest(table)
    said = str(error.value)
    assert "5 problems (3 empty reference, 1 missing audio file, 1 duplicate path)" in said
    for row, text in ((3, "[noise]"), (4, "(laughter)"), (5, "Um")):
        assert f"t.csv, row {row}: empty reference: {text!r} normalises to nothing" in said
    assert "t.csv, row 6, column path: missing" in said and "row 7, column path: duplicate path" in said
    assert [clip.text for clip in read_manifest(table, skip_bad=True)] == ["Hello there."]
    assert "left out 5 problems (3 empty reference" in capsys.readouterr().out
    table.write_text("path,text\nclip 1.wav,[noise]", encoding="utf-8")
    with pytest.raises(ManifestError, match="no recording is usable"):
        read_manifest(table, skip_bad=True)


@pytest.mark.parametrize("kind", ["csv", "jsonl", "kaldi"])
def test_duplicates_are_named_with_both_rows(manifest, tmp_path, kind):
    pairs = [("one", "clip 0.wav"), ("two", "clip 1.wav"), ("one", "clip 2.wav")]
    if kind == "kaldi":
        path = tmp_path / "corpus"
        path.mkdir()
        (path / "wav.scp").write_text("".join(f"{id} {tmp_path / name}\n" for id, name in pairs[:2]), encoding="utf-8")
        (path / "text").write_text("".join(f"{id} hello\n" for id, _ in pairs), encoding="utf-8")
    else:
        path = tmp_path / f"t.{kind}"
        lines = ["id,path,text", *(f"{id},{name},hello" for id, name in pairs)] if kind == "csv" else [
            json.dumps({"id": id, "path": name, "text": "hello"}) for id, name in pairs]
        path.write_text("\n".join(lines), encoding="utf-8")
    first, last = {"csv": (2, 4), "jsonl": (1, 3), "kaldi": (1, 3)}[kind]
    with pytest.raises(ManifestError, match=rf", row {last}: duplicate id: one is also in .*, row {first}"):
        read_manifest(path)


def test_tables_with_other_columns(manifest, tmp_path):
    """Capitals, blanks and columns that nobody needs."""
    table = tmp_path / "calls.csv"
    table.write_text(
        "Call Nr,Recording,Agent,Text,Said,Kind\n1,clip 0.wav,ann,x,Hello there.,sales\n2,clip 1.wav,bob,y,Good morning.,help",
        encoding="utf-8",
    )
    with pytest.raises(ManifestError, match=r"no column path: found call nr, recording, agent, text, said, .*--path-column"):
        read_manifest(table)
    columns = {"path": "Recording", "text": "Said", "speaker": "agent", "domain": "kind"}
    found = [(c.id, c.text, c.speaker, c.domain) for c in read_manifest(table, columns=columns)]
    assert found == [("clip 0.wav", "Hello there.", "ann", "sales"), ("clip 1.wav", "Good morning.", "bob", "help")]
    with pytest.raises(ManifestError, match=r"no column words: found call nr, recording.*; needed is words"):
        read_manifest(table, columns=columns | {"text": "words"})
    with pytest.raises(ManifestError, match="no column who: found"):  # a wish that cannot be met, not a default
        read_manifest(table, columns=columns | {"speaker": "who"})
    with pytest.raises(AskdError, match=r"unknown column 'txt'.*known are domain, path, speaker, text"):
        read_manifest(table, columns={"txt": "said"})
    (tmp_path / "wav.scp").write_text("", encoding="utf-8")
    with pytest.raises(ManifestError, match="layout kaldi has no named columns, so text cannot be chosen"):
        read_manifest(tmp_path, columns={"text": "said"})


def test_a_recording_that_breaks_off_is_named_before_decoding(tiny_en, manifest, tmp_path, capsys):
    """Its header is whole, so only reading all of it shows the fault."""
    whole = tmp_path / "clip 1.wav"
    soundfile.write(tmp_path / "clip 1.flac", soundfile.read(whole)[0], 8000)
    (tmp_path / "clip 1.flac").write_bytes((tmp_path / "clip 1.flac").read_bytes()[:9000])
    manifest.write_text(manifest.read_text().replace("clip 1.wav", "clip 1.flac"))
    clips = read_manifest(manifest)
    with pytest.raises(AudioError, match=r"clip 1\.flac"):
        evaluate_models({"t": tiny_en}, clips, tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()
    report = evaluate_models({"t": tiny_en}, clips, tmp_path / "out", skip_bad=True, progress=False)
    assert report["models"]["t"]["domains"]["mine"]["utterances"] == 3
    assert "left out 1 of 4" in capsys.readouterr().out


def test_hypotheses_are_kept_and_read_back(tiny_en, clips, tmp_path):
    path = tmp_path / "h.jsonl"
    first = hypotheses(*tiny_en, clips[:2], path)
    written = path.stat().st_mtime_ns
    assert hypotheses(*tiny_en, clips[:2], path) == json.loads(json.dumps(first))
    assert path.stat().st_mtime_ns == written
    assert len(hypotheses(*tiny_en, clips[:3], path)) == 3  # other clips: made anew
    path.write_text(path.read_text()[:-40])
    with pytest.raises(AskdError, match="line 3: not a whole JSON line"):
        read_rows(path)


def test_rows_of_another_model_or_limit_are_made_anew(tiny_en, toy, clips, tmp_path):
    path, quick = tmp_path / "h.jsonl", {"frames": 400}
    first = hypotheses(*tiny_en, clips[:1], path, max_new_tokens=4, **quick)
    longer = hypotheses(*tiny_en, clips[:1], path, max_new_tokens=8, **quick)
    assert len(first[0]["log_probs"]) < len(longer[0]["log_probs"])
    other = hypotheses(toy, tiny_en.processor, clips[:1], path, max_new_tokens=8, **quick)
    assert other != longer and read_rows(path) == other


def test_rows_of_another_format_or_damaged_ones_are_made_anew(tiny_en, clips, tmp_path, capsys):
    path, meta = tmp_path / "h.jsonl", tmp_path / "h.meta.json"
    quick = {"frames": 400, "max_new_tokens": 8}
    expected = hypotheses(*tiny_en, clips[:2], path, **quick)
    whole, said = path.read_text(encoding="utf-8"), read_json(meta)
    for content, settings, message in (
        (whole[:-40], said, "h.jsonl, line 2: not a whole JSON line"),
        (whole[: whole.index("\n") + 1], said, "h.jsonl: 1 rows, but 2 were written"),
        (whole.replace("hypothesis", "text"), said, "line 1: no hypothesis"),
        (whole.replace('"word_tokens"', '"words"'), {key: value for key, value in said.items() if key != "format"}, ""),
    ):
        path.write_text(content, encoding="utf-8")
        write_json(meta, settings)
        assert hypotheses(*tiny_en, clips[:2], path, **quick) == expected == read_rows(path)
        assert message in capsys.readouterr().out


def test_two_recordings_of_one_name_cannot_be_told_apart(tiny_en, clips, tmp_path):
    with pytest.raises(AskdError, match=f"1 ids belong to several recordings.*{clips[1].id} of neural_clean"):
        evaluate_models({"t": tiny_en}, [*clips[:2], clips[1]], tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()


@pytest.fixture
def recordings(tmp_path):
    """A table in its own words: a short recording, some 40 s of 44.1 kHz stereo, a short one of 8 kHz."""
    spoken, pause, parts, said = load_clips("neural_clean", "test", 20), np.zeros(8_000, np.float32), [], []
    for clip in spoken:
        if sum(map(len, parts)) < 35 * 16_000:
            parts += [clip.samples(), pause]
            said.append(clip.text)
    long = soxr.resample(np.concatenate(parts), 16_000, 44_100)
    soundfile.write(tmp_path / "long.flac", np.stack([long, long], 1), 44_100)
    soundfile.write(tmp_path / "a.wav", spoken[0].samples(), 16_000)
    soundfile.write(tmp_path / "b.wav", soxr.resample(spoken[1].samples(), 16_000, 8_000), 8_000)
    rows = [("a.wav", spoken[0].text), ("long.flac", " ".join(said)), ("b.wav", spoken[1].text)]
    table = tmp_path / "talks.csv"
    lines = ["nr,wav,said", *(f'{i},{name},"{text}"' for i, (name, text) in enumerate(rows))]
    table.write_text("\n".join(lines), encoding="utf-8")
    return table


@pytest.mark.parametrize("how", ["sequential", "cut"])
def test_long_recordings_through_the_command(recordings, tmp_path, capsys, how):
    out = tmp_path / how
    arguments = ["evaluate", "--model", "tiny.en", "--manifest", str(recordings), "--path-column", "wav", "--text-column", "said"]
    assert main([*arguments, "--how", how, "--out", str(out)]) == 0
    said, rows = capsys.readouterr().out, read_rows(out / "hypotheses" / "tiny.en.jsonl")
    assert [row["id"] for row in rows] == ["a.wav", "long.flac", "b.wav"] and 35 < rows[1]["seconds"] < 45
    assert bool(rows[1]["log_probs"]) == bool(rows[1]["word_tokens"]) == (how == "cut") and rows[0]["log_probs"]
    assert rows[1]["ended"] and word_errors([rows[1]["reference"]], [rows[1]["hypothesis"]]).wer < 20
    assert "3 recordings" in said and f"askd score {out}" in said
    assert f"{out}/hypotheses/tiny.en.jsonl" in said.split("askd compare ")[1]


def test_a_long_recording_that_breaks_off_is_named_before_decoding(tiny_en, recordings, tmp_path, capsys):
    (tmp_path / "long.flac").write_bytes((tmp_path / "long.flac").read_bytes()[:-20_000])
    clips = read_manifest(recordings, columns={"path": "wav", "text": "said"})
    with pytest.raises(AudioError, match=r"1 of 3 recordings cannot be used; .*(?s:.*)long\.flac"):
        evaluate_models({"t": tiny_en}, clips, tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()
    left = read_manifest(recordings, skip_bad=True, columns={"path": "wav", "text": "said"})
    assert [clip.id for clip in left] == ["a.wav", "b.wav"] and "left out 1 of 3" in capsys.readouterr().out


def test_training_still_takes_30_s_at_most(recordings, tmp_path, capsys):
    """What was made for scoring is not let into training by the back door."""
    recordings.write_text(recordings.read_text(encoding="utf-8").replace("nr,wav,said", "nr,path,text"), encoding="utf-8")
    long = load_clips(recordings, "all")[1]
    with pytest.raises(AudioError, match=r"long\.flac: lasts (3[5-9]|4\d)\.\d s; at most 30 s fit"):
        long.samples()
    assert len(load_clips(recordings, "all", skip_bad=True)) == 2 and "at most 30 s fit" in capsys.readouterr().out


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A Hub data set on disk: a recording of 1 s, one of 31 s, and one of which no word is left."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "hf"))
    monkeypatch.setenv("ASKD_CACHE", str(tmp_path / "cache"))
    rows = []
    for seconds, text in ((1, "hello"), (31, "long hello"), (1, "[noise]")):
        soundfile.write(content := io.BytesIO(), 0.01 * np.random.default_rng(seconds).standard_normal(seconds * 16_000), 16_000,
                        format="FLAC")
        rows.append({"audio": {"bytes": content.getvalue(), "path": "x.flac"}, "text": text})
    (tmp_path / "copy/data").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "copy/data/test-00000-of-00001.parquet")
    return f"hub:{tmp_path / 'copy'}"


def test_hub_data_sets_may_be_long_and_their_references_must_hold_words(hub, capsys):
    with pytest.raises(ManifestError, match=r"test-0000002: empty reference: '\[noise\]' normalises to nothing"):
        scored_clips(hub, clips=10)
    found = scored_clips(hub, clips=10, skip_bad=True, casing="sentence")
    assert [(clip.id, round(clip.audio_s), clip.text) for clip in found] == [
        ("test-0000000", 1, "Hello."), ("test-0000001", 31, "Long hello.")]
    assert "left out 1 problem (1 empty reference); 2 recordings are left" in capsys.readouterr().out
    with pytest.raises(AudioError, match="at most 30 s fit"):
        found[1].samples()


def test_several_models_are_compared_with_the_first(clips, tmp_path, capsys):
    (tmp_path / "my.csv").write_text(f'path,text\n{clips[0].path},"{clips[0].text}"\n', encoding="utf-8")
    arguments = ["evaluate", "--model", "tiny.en", "tiny.en", "--name", "teacher", "again", "--frames", "clip",
                 "--max-new-tokens", "8", "--manifest", str(tmp_path / "my.csv"), "--out", str(tmp_path / "out")]
    assert main(arguments) == 0
    report, said = read_json(tmp_path / "out" / "wer.json"), capsys.readouterr().out
    assert list(report["models"]) == ["teacher", "again"]
    assert all((c["a"], c["b"], c["delta"]) == ("again", "teacher", 0) for c in report["comparisons"]) and report["comparisons"]
    assert "teacher.jsonl" in said and "again.jsonl" in said and "teacher:\nmy" in said
    assert read_json(tmp_path / "out" / "hypotheses" / "again.meta.json")["frames"] is None
    assert {len(row["log_probs"]) <= 9 for row in read_rows(tmp_path / "out" / "hypotheses" / "again.jsonl")} == {True}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "some/corpus"], "some/corpus: no such folder here; a data set of the Hub is named hub:some/corpus"),
        (["--data", "neural_cleen"], "unknown domain 'neural_cleen' (did you mean 'neural_clean'?)"),
        (["--data", "neural_clean", "--text-column", "said"], "columns of a Hub data set: hub:ID?text=NAME"),
        (["--data", "neural_clean", "--clips", "0"], "--clips must be at least 1, not 0"),
        (["--manifest", "a.csv", "--batch-size", "0"], "--batch-size must be at least 1"),
        (["--manifest", "a.csv", "--name", "a", "b"], "--name gives 2 names to 1 models"),
        (["--manifest", "a.csv", "--name", "a/b"], "'a/b' cannot be the name of a file"),
        (["--manifest", "a.csv", "--model", "tiny.en", "x/tiny.en"], "two models are called tiny.en: tell them apart"),
        (["--manifest", "a.csv", "--model", "tiny.en", "bass"], "unknown model 'bass'"),
        (["--manifest", "nowhere.csv"], "nowhere.csv: cannot be read"),
    ],
)
def test_mistakes_on_the_command_line_are_one_clear_line(arguments, message, tmp_path, capsys):
    assert main(["evaluate", "--model", "tiny.en", "--out", str(tmp_path / "out"), *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and len(error.strip().splitlines()) == 1 and not (tmp_path / "out").exists()


def test_a_sequential_wish_that_the_context_forbids(tiny_en, recordings, tmp_path, capsys):
    arguments = ["evaluate", "--model", "tiny.en", "--manifest", str(recordings), "--path-column", "wav", "--text-column", "said"]
    assert main([*arguments, "--how", "sequential", "--frames", "clip", "--out", str(tmp_path / "out")]) == 2
    assert "sequential long-form reads windows of 30 s" in capsys.readouterr().err


def test_report_has_the_promised_shape(tiny_en, clips):
    rows = hypotheses(*tiny_en, clips[4:8])
    worse = [row | {"hypothesis": "nothing like it"} for row in rows]
    report = wer_report({"teacher": rows, "askd": worse}, [("askd", "teacher")])
    assert set(report) == {"scorer", "unit", "resamples", "seeds", "models", "comparisons", "domain_comparisons"}
    model = report["models"]["askd"]
    assert set(model) == {"role", "seeds", "domains", "macro", "macro_cer", "macro_ci95"}
    assert set(model["macro"]) == {"in_domain", "out_of_domain", "all"}
    splits = [c["split"] for c in report["comparisons"]]
    assert splits == ["in_domain", "all"]  # these clips hold no out-of-domain domain
    found = report["comparisons"][0]
    assert {"a", "b", "split", "delta", "ci95"} <= set(found)
    assert found["ci95"][0] > 0 and "too few utterances to tell ASKD from the teacher" in found["in_words"]


def test_latency_rows(toy):
    from askd.decoding import use_clip_context
    from askd.student import make_student

    student = make_student(toy, decoder_layers=2).eval()
    use_clip_context(student)
    clip = np.random.default_rng(0).standard_normal(16000).astype(np.float32)
    rows = measure({"teacher": toy, "askd": student}, [of_length(clip, 2.0)] * 3, 1, [6] * 3, repeats=2, warmup=1)
    assert {"model", "engine", "batch", "audio_s", "p50_ms", "p95_ms", "rtfx", "tokens"} <= set(rows[0])
    assert [row["tokens"] for row in rows] == [6, 6]  # equal work
    assert all(row["audio_s"] == 2 and 0 < row["encoder_ms"] < row["p50_ms"] <= row["p95_ms"] for row in rows)
    assert speedup(rows, "teacher", "askd", batch=1) > 1  # 30 s against 2 s of context
    with pytest.raises(ValueError, match="0 rows"):
        speedup(rows, "teacher", "askd", batch=8)
