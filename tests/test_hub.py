"""Data sets of the Hub, read from local copies in every layout; the Hub itself is a closed door or a small local server."""

import http.server
import io
import json
import os
import re
import subprocess
import sys
import threading
import time
import tracemalloc

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from askd.audio import read_audio
from askd.clips import Clip
from askd.errors import AskdError, ManifestError, UnknownName
from askd.hub import PARQUET_COPY, clips_to_dataset, hub_records
from askd.hubsource import HubSource, parse_hub, presets

FORMATS = [
    ("WAV", "PCM_16", 16000), ("FLAC", "PCM_16", 16000), ("OGG", "VORBIS", 22050), ("MP3", None, 44100), ("WAV", "ULAW", 8000),
]
STREAMING = pytest.mark.parametrize("streaming", [True, False])


@pytest.fixture(autouse=True)
def caches(tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "hf"))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("ASKD_CACHE", str(tmp_path / "askd"))
    datasets.disable_progress_bars()


def sound(i, seconds=0.3):
    """An encoded file: noise of its own, the formats in turn."""
    kind, subtype, rate = FORMATS[i % len(FORMATS)]
    content = io.BytesIO()
    samples = 0.1 * np.random.default_rng(i).standard_normal(int(seconds * rate))
    soundfile.write(content, samples, rate, format=kind, subtype=subtype)
    return content.getvalue()


def rows(numbers, seconds=0.3):
    return [
        {"audio": {"bytes": sound(i, seconds), "path": f"{i}.x"}, "text": f"sentence {i}", "speaker": i % 3, "name": f"utt{i}"}
        for i in numbers
    ]


def write_shard(path, table, group=20):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table if isinstance(table, pa.Table) else pa.Table.from_pylist(table), path, row_group_size=group)


def front_matter(folder, configs):
    lines = ["---", "configs:"]
    for config, splits in configs.items():
        lines += [f"- config_name: {config}", "  data_files:"]
        lines += [line for split, path in splits.items() for line in (f"  - split: {split}", f"    path: {path}")]
    (folder / "README.md").write_text("\n".join([*lines, "---", "# A copy", ""]), encoding="utf-8")


@pytest.fixture
def copy(tmp_path):
    """A Hub data set on disk: seven training recordings in two shards, three for the test."""
    folder = tmp_path / "copy"
    write_shard(folder / "data/train-00000-of-00002.parquet", rows(range(4)))
    write_shard(folder / "data/train-00001-of-00002.parquet", rows(range(4, 7)))
    write_shard(folder / "data/test-00000-of-00001.parquet", rows(range(7, 10)))
    front_matter(folder, {"default": {"train": "data/train-*", "test": "data/test-*"}})
    return folder


def source(folder, **options):
    return HubSource(str(folder), **options)


@STREAMING
def test_a_local_copy_gives_every_recording_in_order(copy, streaming):
    found = list(hub_records(source(copy, speaker="speaker", id_column="name", streaming=streaming), "train"))
    assert [(r.id, r.text, r.speaker) for r in found] == [(f"utt{i}", f"sentence {i}", str(i % 3)) for i in range(7)]
    for i, record in enumerate(found):
        np.testing.assert_array_equal(read_audio(record.audio), read_audio(sound(i)))
    assert found[5].where.endswith("split train, row 5")


def test_without_speaker_and_id_columns_each_recording_stands_alone(copy):
    found = list(hub_records(source(copy), "test"))
    assert [r.id for r in found] == ["test-0000000", "test-0000001", "test-0000002"]
    assert [r.speaker for r in found] == [r.id for r in found]


def test_streaming_reads_no_shard_that_the_limit_does_not_need(copy):
    (copy / "data/train-00001-of-00002.parquet").write_bytes(b"not parquet at all")
    assert [r.text for r in hub_records(source(copy), "train", limit=3)] == [f"sentence {i}" for i in range(3)]
    with pytest.raises(ManifestError, match="split train, row 4: cannot be read"):
        list(hub_records(source(copy), "train"))


def test_a_split_is_read_while_another_is_broken(copy):
    assert next(hub_records(source(copy), "test")).text == "sentence 7"


def test_shuffle_is_a_seeded_permutation_and_rows_keep_their_names(copy):
    def drawn(seed, **options):
        return [(r.id, r.text) for r in hub_records(source(copy, **options), "train", seed=seed)]

    plain = [(r.id, r.text) for r in hub_records(source(copy), "train")]
    assert drawn(1, shuffle=4) == drawn(1, shuffle=4) == drawn(1, shuffle=4, streaming=False)
    assert sorted(drawn(1, shuffle=4)) == plain
    assert len({tuple(drawn(seed, shuffle=4)) for seed in range(5)} | {tuple(plain)}) > 3
    assert drawn(1) == drawn(2) == plain


def test_memory_does_not_grow_with_the_number_of_recordings(tmp_path):
    rng, size = np.random.default_rng(0), 96_000  # bytes of three seconds
    for shard in range(2):
        table = [{"audio": {"bytes": rng.bytes(size), "path": "a.wav"}, "text": f"row {i}"} for i in range(200)]
        write_shard(tmp_path / f"big/data/train-{shard:05d}-of-00002.parquet", table, group=5)
    del table
    assert next(hub_records(source(tmp_path / "big"), "train")).id == "train-0000000"  # modules are imported before it counts
    tracemalloc.start()
    arrow_before, arrow_peak, count = pa.total_allocated_bytes(), 0, 0
    for _record in hub_records(source(tmp_path / "big"), "train"):
        count += 1
        arrow_peak = max(arrow_peak, pa.total_allocated_bytes() - arrow_before)
    python_peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 400
    assert arrow_peak + python_peak < 400 * size / 5


@pytest.mark.parametrize("options, role, message", [
    (dict(), "tset", "unknown split of .*'tset'.*did you mean 'test'.*known are test, train"),
    (dict(), "dev", "unknown split of .*'dev'.*known are test, train"),
    (dict(test="test.other"), "test", "unknown split of .*'test.other'.*known are test, train"),
    (dict(text="sentence"), "test", r"unknown column \(option text\) of .*'sentence'.*known are audio, name, speaker, text"),
    (dict(speaker="client"), "test", "option speaker.*'client'.*known are audio, name, speaker, text"),
    (dict(), "all", "unknown split of .*'all'.*known are test, train"),
    (dict(split="tset"), "all", "unknown split of .*'tset'.*did you mean 'test'"),
    (dict(config="clean"), "test", "unknown config of .*'clean'.*known are default"),
])
@STREAMING
def test_a_wrong_name_lists_what_exists(copy, options, role, message, streaming):
    with pytest.raises(UnknownName, match=message):
        hub_records(source(copy, streaming=streaming, **options), role)


def test_a_column_that_is_not_sound_is_refused(copy):
    with pytest.raises(AskdError, match=r"column speaker holds .*int64.*, not sound"):
        hub_records(source(copy, audio="speaker"), "test")


@STREAMING
def test_two_configs(tmp_path, streaming):
    folder = tmp_path / "two"
    write_shard(folder / "clean/test.100-00000-of-00001.parquet", rows([1]))
    write_shard(folder / "other/validation-00000-of-00001.parquet", rows([2]))
    front_matter(folder, {"clean": {"test.100": "clean/test*"}, "other": {"validation": "other/validation*"}})
    assert [r.text for r in hub_records(source(folder, config="clean", streaming=streaming), "test.100")] == ["sentence 1"]
    assert [r.text for r in hub_records(source(folder, config="clean", test="test.100"), "test")] == ["sentence 1"]
    assert [r.text for r in hub_records(source(folder, config="other", streaming=streaming), "dev")] == ["sentence 2"]
    assert [r.text for r in hub_records(source(folder, config="clean", split="test.100"), "all")] == ["sentence 1"]
    with pytest.raises(AskdError, match=r"several configs, choose one \(config=NAME\): clean, other"):
        hub_records(source(folder), "test")
    with pytest.raises(UnknownName, match=r"'cleen'.*did you mean 'clean'.*known are clean, other"):
        hub_records(source(folder, config="cleen"), "test")


def test_the_hubs_parquet_copy_has_configs_as_folders(tmp_path):
    write_shard(tmp_path / "ami/ihm/partial-train/0000.parquet", rows([1]))
    write_shard(tmp_path / "ami/ihm/test/0000.parquet", rows([2]))
    write_shard(tmp_path / "ami/sdm/test/0000.parquet", rows([3]))
    ami = source(tmp_path / "ami", config="ihm", revision=PARQUET_COPY)
    assert [r.text for r in hub_records(ami, "train")] == ["sentence 1"]
    assert [r.text for r in hub_records(ami, "test")] == ["sentence 2"]


@STREAMING
def test_audiofolder(tmp_path, streaming):
    folder = tmp_path / "folder/train"
    folder.mkdir(parents=True)
    names = ["a.wav", "b.flac", "c.ogg"]
    for i, name in enumerate(names):
        (folder / name).write_bytes(sound(i))
    (folder / "metadata.csv").write_text("file_name,text,who\n" + "".join(f"{n},says {n},me\n" for n in names), encoding="utf-8")
    found = list(hub_records(source(tmp_path / "folder", speaker="who", streaming=streaming), "train"))
    assert [(r.text, r.speaker, r.audio) for r in found] == [(f"says {n}", "me", folder / n) for n in names]
    for i, record in enumerate(found):
        np.testing.assert_array_equal(read_audio(record.audio), read_audio(sound(i)))


@STREAMING
def test_zipped_audiofolder(tmp_path, streaming):
    import zipfile

    (tmp_path / "zipped").mkdir()
    with zipfile.ZipFile(tmp_path / "zipped/train.zip", "w") as archive:
        archive.writestr("a.wav", sound(0))
        archive.writestr("metadata.jsonl", json.dumps({"file_name": "a.wav", "text": "from an archive"}) + "\n")
    (record,) = hub_records(source(tmp_path / "zipped", streaming=streaming), "train")
    np.testing.assert_array_equal(read_audio(record.audio), read_audio(sound(0)))


def test_a_table_of_relative_paths(tmp_path):
    (tmp_path / "table/wav").mkdir(parents=True)
    (tmp_path / "table/wav/a.flac").write_bytes(sound(1))
    lines = [{"audio": "wav/a.flac", "text": "here"}, {"audio": "wav/b.flac", "text": "not here"}]
    (tmp_path / "table/train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    found = hub_records(source(tmp_path / "table"), "train")
    np.testing.assert_array_equal(read_audio(next(found).audio), read_audio(sound(1)))
    with pytest.raises(ManifestError, match=r"row 1, column audio: the file wav/b.flac is missing"):
        next(found)


@STREAMING
def test_bad_rows_are_named_or_skipped_and_counted(tmp_path, capsys, streaming):
    bad = rows(range(6))
    bad[1]["text"], bad[2]["text"], bad[3]["audio"], bad[4]["audio"] = "  ", None, None, {"bytes": b"", "path": None}
    write_shard(tmp_path / "bad/data/test-00000-of-00001.parquet", bad)
    bad_source = source(tmp_path / "bad", streaming=streaming)
    with pytest.raises(ManifestError, match=r"split test, row 1, column text: empty transcript"):
        list(hub_records(bad_source, "test"))
    assert [r.text for r in hub_records(bad_source, "test", skip_bad=True)] == ["sentence 0", "sentence 5"]
    assert "left out 4 rows, the first: " in capsys.readouterr().out
    assert [r.id for r in hub_records(bad_source, "test", skip_bad=True, limit=2)] == ["test-0000000", "test-0000005"]
    write_shard(tmp_path / "mute/data/test-00000-of-00001.parquet", bad[3:])
    with pytest.raises(ManifestError, match=r"row 0, column audio: no sound"):
        list(hub_records(source(tmp_path / "mute"), "test"))


def test_text_that_is_not_utf8_is_named(tmp_path):
    table = pa.Table.from_pylist(rows(range(2)))
    text = pa.array([b"fine", b"caf\xe9"]).view(pa.string())
    write_shard(tmp_path / "latin/data/test-00000-of-00001.parquet", table.set_column(1, "text", text))
    with pytest.raises(ManifestError, match=r"split test, row \d: cannot be read \(UnicodeDecodeError"):
        list(hub_records(source(tmp_path / "latin"), "test"))


def test_an_empty_folder_says_so(tmp_path):
    (tmp_path / "nothing").mkdir()
    with pytest.raises(AskdError, match="nothing: cannot be read"):
        hub_records(source(tmp_path / "nothing"), "test")


@pytest.fixture
def clips(tmp_path):
    """Files in every format, G.722 among them."""
    made = []
    for i in range(len(FORMATS) + 1):
        path = tmp_path / "originals" / f"{i}.{'g722' if i == len(FORMATS) else FORMATS[i][0].lower()}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(np.random.default_rng(0).bytes(4000) if i == len(FORMATS) else sound(i))
        made.append(Clip(f"id{i}", "domain", f"s{i % 2}", f"Text number {i}.", 0.3, str(path), sha256=str(i)))
    return made


@STREAMING
@pytest.mark.parametrize("layout", ["parquet", "disk", "dict"])
def test_clips_come_back_equal_when_the_originals_are_gone(tmp_path, clips, layout, streaming):
    import datasets

    want = [clip.samples() for clip in clips]
    made = clips_to_dataset(clips)
    assert made.features == datasets.Features({
        "audio": datasets.Audio(sampling_rate=16000, decode=False), "text": datasets.Value("string"),
        "speaker": datasets.Value("string"), "duration_s": datasets.Value("float64"), "domain": datasets.Value("string"),
        "id": datasets.Value("string"),
    })
    if layout == "parquet":
        (tmp_path / "back/data").mkdir(parents=True)
        made.to_parquet(tmp_path / "back/data/train-00000-of-00001.parquet")
    else:
        (made if layout == "disk" else datasets.DatasetDict(train=made)).save_to_disk(tmp_path / "back")
    for clip in clips:
        os.remove(clip.path)
    found = list(hub_records(source(tmp_path / "back", speaker="speaker", id_column="id", streaming=streaming), "train"))
    assert [(r.id, r.text, r.speaker) for r in found] == [(c.id, c.text, c.speaker) for c in clips]
    for record, samples in zip(found, want, strict=True):
        np.testing.assert_array_equal(read_audio(record.audio), samples)
    with pytest.raises(UnknownName, match="known are train"):
        hub_records(source(tmp_path / "back"), "test")


def test_a_pushed_data_set_holds_the_sound_and_no_path_of_this_machine(tmp_path, clips):
    want = [clip.samples() for clip in clips]
    made = clips_to_dataset(clips)
    for clip in clips:
        os.remove(clip.path)
    made.to_parquet(tmp_path / "pushed.parquet")
    table = pq.read_table(tmp_path / "pushed.parquet")
    for row, samples in zip(table.to_pylist(), want, strict=True):
        assert row["audio"]["path"] == os.path.basename(row["audio"]["path"])
        np.testing.assert_array_equal(read_audio(row["audio"]["bytes"]), samples)
    about = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]["audio"]
    assert (about["_type"], about["sampling_rate"]) == ("Audio", 16000)
    assert str(tmp_path) not in str(table.schema.metadata)


def test_clips_lie_on_disk_and_are_made_once(tmp_path, clips):
    first, second = clips_to_dataset(clips), clips_to_dataset(clips)
    assert first.cache_files == second.cache_files
    assert first.cache_files[0]["filename"].startswith(str(tmp_path / "askd"))


def test_no_clips_no_data_set():
    with pytest.raises(AskdError, match="at least one clip"):
        clips_to_dataset([])


def test_every_preset_is_complete():
    assert set(presets()) >= {
        "librispeech_clean", "librispeech_other", "ami", "earnings22", "voxpopuli", "tedlium", "gigaspeech", "spgispeech",
        "common_voice", "fleurs", "speechocean762",
    }
    for name, preset in presets().items():
        assert parse_hub(f"hub:{name}") == preset
        assert all((preset.licence, preset.citation, preset.about, preset.note, preset.language, preset.test)), name
        assert re.search(r"\((19|20)\d\d\)", preset.citation), name
        assert not preset.local and preset.streaming, name
    assert {name for name, preset in presets().items() if preset.gated} == {"gigaspeech", "spgispeech"}
    with pytest.raises(AskdError, match="Mozilla Data Collective"):
        hub_records(presets()["common_voice"], "test")


def test_parse_hub(copy, monkeypatch):
    parsed = parse_hub("hub:openslr/librispeech_asr?config=clean&split=test&text=text&streaming=false")
    assert parsed == HubSource("openslr/librispeech_asr", config="clean", split="test", streaming=False)
    assert parse_hub("hub:librispeech_clean?train=train.360").train == "train.360"
    assert parse_hub("hub:librispeech_clean?speaker=").speaker is None
    monkeypatch.chdir(copy.parent)
    for text in ("hub:./copy?text=text", "hub:copy", str(copy)):
        assert len(list(hub_records(parse_hub(text), "test"))) == 3


@pytest.mark.parametrize("text, error, message", [
    ("hub:librispeech_claen", UnknownName, "did you mean 'librispeech_clean'.*known are ami, "),
    ("hub:", UnknownName, "known are ami, "),
    ("hub:a/b?txt=sentence", UnknownName, "'txt'.*did you mean 'text'.*known are about, audio"),
    ("hub:a/b?trust_remote_code=true", UnknownName, "trust_remote_code"),
    ("hub:a/b?streaming=maybe", AskdError, "streaming must be true or false, not 'maybe'"),
    ("hub:a/b?shuffle=many", AskdError, "shuffle must be a number of rows, 0 or more, not 'many'"),
    ("hub:a/b?shuffle=-1", AskdError, "shuffle must be"),
    ("hub:a/b?casing=upper", AskdError, "casing must be one of"),
    ("hub:a/b?drop=x", AskdError, "replace and drop are no options; write a preset"),
    ("hub:a/b?name=x", UnknownName, "'name'"),
    ("hub:a/b?text=", AskdError, "text must name a column"),
    ("hub:./not_here", AskdError, "neither a folder of this machine nor owner/name"),
])
def test_a_wrong_command_line_is_explained(text, error, message):
    with pytest.raises(error, match=message):
        parse_hub(text)


def test_a_limit_below_one_is_refused(copy):
    with pytest.raises(AskdError, match="limit must be at least 1, not 0"):
        hub_records(source(copy), "test", limit=0)


@pytest.mark.parametrize("options, message", [
    (dict(shuffle=-1), "shuffle must be a number of rows, 0 or more, not -1"),
    (dict(shuffle=True), "shuffle must be"),
    (dict(casing="upper"), "casing must be one of as_is, sentence, not 'upper'"),
    (dict(replace={"": "x"}), "replace must map texts to texts"),
    (dict(replace=["a", "b"]), "replace must map texts to texts"),
    (dict(drop="<SIL>"), "drop must be a list of transcripts, not '<SIL>'"),
    (dict(train="none", dev="none", test="none"), "leaves nothing"),
])
def test_a_field_that_does_not_fit_is_named(options, message):
    with pytest.raises(AskdError, match=message):
        HubSource("a/b", **options)


@pytest.mark.parametrize("text, roles", [
    ("hub:a/b", ("train", "dev", "test")),
    ("hub:a/b?dev=none", ("train", "test")),
    ("hub:a/b?split=x", ("all",)),
    ("hub:librispeech_clean?split=train.360", ("all",)),
    ("hub:librispeech_clean", ("train", "dev", "test")),
    ("hub:earnings22", ("test",)),
    ("hub:speechocean762", ("train", "test")),
    ("hub:speechocean762?dev=test&test=none", ("train", "dev")),
])
def test_roles(text, roles):
    assert parse_hub(text).roles == roles


@pytest.mark.parametrize("role", ["train", "dev", "test"])
def test_one_split_never_serves_two_roles(copy, role):
    with pytest.raises(AskdError, match=f"split=test is one split and has no {role}: say train=.*dev=.*test=.* instead"):
        hub_records(source(copy, split="test"), role)
    assert [r.text for r in hub_records(source(copy, split="test"), "all")] == ["sentence 7", "sentence 8", "sentence 9"]


def test_a_role_that_does_not_exist_is_refused_before_anything_is_opened():
    with pytest.raises(AskdError, match="hub:earnings22 has no train split, only test"):
        hub_records(presets()["earnings22"], "train")  # offline: opening it would say so


def test_records_are_named_as_the_user_names_them(copy):
    assert parse_hub("hub:fleurs").where("test", 17) == "hub:fleurs, split test, row 17"
    assert parse_hub("hub:a/b?config=c").where("test", 17) == "hub:a/b, split test, row 17"
    assert [r.where for r in hub_records(source(copy), "test", limit=2)] == [f"hub:{copy}, split test, row {i}" for i in (0, 1)]


@pytest.mark.parametrize("preset, given, wanted", [
    ("gigaspeech", "AS THEY SAY <COMMA> I'LL GO <PERIOD> WILL YOU <QUESTIONMARK>", "As they say, I'll go. Will you?"),
    ("gigaspeech", "STOP <EXCLAMATIONPOINT>", "Stop!"),
    ("gigaspeech", "<MUSIC>", None),
    ("gigaspeech", " <SIL> ", None),
    ("tedlium", "it 's what i don 't <unk> know", "it's what i don't know"),
    ("tedlium", "ignore_time_segment_in_scoring", None),
    ("tedlium", "<unk> <unk>", None),  # dropped by what is left of it
    ("librispeech_clean", "HE SAID I AM HERE", "He said I am here."),
    ("ami", "OKAY", "Okay."),
    ("speechocean762", "MARK IS GOING TO SEE ELEPHANT", "Mark is going to see elephant."),
    ("fleurs", " Als Is , here ", "Als Is , here"),
])
def test_transcripts_of_presets(preset, given, wanted):
    assert presets()[preset].transcript(given) == wanted


def test_replacements_follow_their_order_and_move_no_number():
    made = HubSource("a/b", replace={"a": "b", "b": "c"}).transcript("a  costs .5 ; b ... and , so ?")
    assert made == "c costs .5; c... cnd, so?"


def test_dropped_rows_are_neither_errors_nor_counted(tmp_path, capsys):
    table = rows(range(6))
    for i, text in enumerate(["<SIL>", "ONE <COMMA> TWO", "<NOISE>", "<x>", "THREE", "FOUR"]):
        table[i]["text"] = text
    table[0]["audio"] = None  # nobody needs the sound of what is left out
    write_shard(tmp_path / "tags/data/test-00000-of-00001.parquet", table)
    tagged = source(tmp_path / "tags", replace={"<COMMA>": ",", "<x>": "<NOISE>"}, drop=["<SIL>", "<NOISE>"], casing="sentence")
    found = [(r.text, r.id) for r in hub_records(tagged, "test")]
    assert found == [("One, two.", "test-0000001"), ("Three.", "test-0000004"), ("Four.", "test-0000005")]
    assert [(r.text, r.id) for r in hub_records(tagged, "test", limit=2)] == found[:2]
    assert capsys.readouterr().out == ""


def test_casing_and_shuffle_from_the_command_line(copy):
    parsed = parse_hub(f"hub:{copy}?casing=sentence&shuffle=2")
    assert (parsed.casing, parsed.shuffle) == ("sentence", 2)
    assert sorted(r.text for r in hub_records(parsed, "test")) == ["Sentence 7.", "Sentence 8.", "Sentence 9."]
    assert parse_hub("hub:earnings22").shuffle == 3000 and parse_hub("hub:earnings22?shuffle=0").shuffle == 0


def test_without_datasets_it_says_what_to_install(copy, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    for call in (lambda: hub_records(source(copy), "test"), lambda: clips_to_dataset([])):
        with pytest.raises(AskdError, match=re.escape("pip install 'askd[hub]'")):
            call()


TRY = """
import sys, time
import datasets
from askd.errors import AskdError
from askd.hub import hub_records
from askd.hubsource import parse_hub
for name in sys.argv[1:]:
    start = time.time()
    try:
        print(len(list(hub_records(parse_hub(name), "test"))))
    except AskdError as error:
        print(type(error).__name__, round(time.time() - start), error)
"""


def in_another_process(names, tmp_path, **environment):
    environment = os.environ | {"HF_HOME": str(tmp_path / "home")} | environment
    done = subprocess.run([sys.executable, "-c", TRY, *names], capture_output=True, text=True, env=environment, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_offline_names_the_data_set_and_the_way_out_and_copies_still_work(tmp_path, copy):
    start = time.time()
    offline, local = in_another_process(["hub:librispeech_clean", str(copy)], tmp_path, HF_HUB_OFFLINE="1")
    assert re.match(r"AskdError \d openslr/librispeech_asr .*HF_HUB_OFFLINE is set.*hub:FOLDER", offline)
    assert local == "3" and time.time() - start < 30


class Hub(http.server.BaseHTTPRequestHandler):
    """Answers as the Hub does for a gated data set, one that does not exist, and one with a loading script."""

    def do_GET(self):
        refused = {"gated": (401, "GatedRepo"), "missing": (404, "RepoNotFound")}
        status, code = next((answer for name, answer in refused.items() if name in self.path), (200, ""))
        self.send_response(status)
        for header in {"X-Error-Code": code, "ETag": '"1"', "X-Repo-Commit": 40 * "a", "Content-Length": "2"}.items():
            self.send_header(*header)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(b"x\n")

    do_HEAD = do_GET

    def log_message(self, *_):
        pass


def test_gated_missing_and_scripted_data_sets_say_what_to_do(tmp_path):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    names = ["hub:some/gated", "hub:some/missing", "hub:some/scripted"]
    gated, missing, scripted = in_another_process(names, tmp_path, HF_ENDPOINT=address, HF_HUB_OFFLINE="0")
    server.shutdown()
    assert re.search("some/gated is gated: accept the terms .*hf auth login", gated)
    assert re.search("some/missing: no folder here and no data set of the Hub", missing)
    assert re.search(f"some/scripted has a loading script, which is never run.*revision={PARQUET_COPY}", scripted)
