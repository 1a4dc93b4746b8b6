"""Any CSV, any broken file, and hypotheses that can be scored again without a model."""

import json

import numpy as np
import pytest
import soundfile

from askd.errors import AskdError, AudioError, ManifestError
from askd.evaluation import evaluate_clips, hypotheses, read_manifest, read_rows, wer_report
from askd.latency import measure, of_length, speedup
from askd.scoring import domain_table


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
    report = evaluate_clips(*tiny_en, "tiny.en", read_manifest(manifest), tmp_path / "out", progress=False)
    saved = json.loads((tmp_path / "out" / "wer.json").read_text())
    assert saved == json.loads(json.dumps(report))
    entry = saved["models"]["tiny.en"]["domains"]["mine"]
    assert entry["utterances"] == 4 and 0 <= entry["wer"] < 60
    assert entry["errors"] == entry["sub"] + entry["del"] + entry["ins"]
    rows = read_rows(tmp_path / "out" / "hypotheses" / "tiny.en.jsonl")
    assert set(rows[0]) == {"domain", "id", "speaker", "reference", "hypothesis", "seconds", "log_probs", "ended"}
    assert domain_table(rows, {"mine": "out_of_domain"})["mine"] == entry
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


def test_a_broken_recording_stops_or_is_skipped_and_counted(tiny_en, manifest, tmp_path, capsys):
    (tmp_path / "clip 1.wav").write_bytes(b"not audio at all")
    with pytest.raises(AudioError, match=r"clip 1\.wav"):
        read_manifest(manifest)
    assert len(read_manifest(manifest, skip_bad=True)) == 3
    assert "left out 1 of 4" in capsys.readouterr().out


def test_a_recording_that_breaks_off_is_named_before_decoding(tiny_en, manifest, tmp_path, capsys):
    """Its header is whole, so only reading all of it shows the fault."""
    whole = tmp_path / "clip 1.wav"
    soundfile.write(tmp_path / "clip 1.flac", soundfile.read(whole)[0], 8000)
    (tmp_path / "clip 1.flac").write_bytes((tmp_path / "clip 1.flac").read_bytes()[:9000])
    manifest.write_text(manifest.read_text().replace("clip 1.wav", "clip 1.flac"))
    clips = read_manifest(manifest)
    with pytest.raises(AudioError, match=r"clip 1\.flac"):
        evaluate_clips(*tiny_en, "t", clips, tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()
    report = evaluate_clips(*tiny_en, "t", clips, tmp_path / "out", skip_bad=True, progress=False)
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


def test_report_has_the_promised_shape(tiny_en, clips):
    rows = hypotheses(*tiny_en, clips[4:8])
    worse = [row | {"hypothesis": "nothing like it"} for row in rows]
    report = wer_report({"teacher": rows, "askd": worse}, {"teacher": "teacher", "askd": "student"}, [("askd", "teacher")])
    assert set(report) == {"scorer", "unit", "models", "comparisons"}
    model = report["models"]["askd"]
    assert set(model) == {"role", "domains", "macro"} and set(model["macro"]) == {"in_domain", "out_of_domain", "all"}
    splits = [c["split"] for c in report["comparisons"]]
    assert splits == ["in_domain", "all"]  # these clips hold no out-of-domain domain
    found = report["comparisons"][0]
    assert {"a", "b", "split", "delta", "ci95"} <= set(found)
    assert found["ci95"][0] > 0 and "more errors" in found["in_words"]


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
