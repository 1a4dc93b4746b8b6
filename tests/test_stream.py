"""Streamed training data, from real Parquet files in Hub layout: which rows a step sees, what is read for it, what is refused."""

import io
import itertools
import pickle
import re
import shutil
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import torch
from torch.utils.data import DataLoader, Dataset

from askd.audio import SAMPLING_RATE_HZ, read_audio
from askd.batches import collate, encode_text
from askd.domains import get_domain
from askd.errors import AskdError, ManifestError, UnknownName
from askd.features import log_mel
from askd.hub import clips_to_dataset
from askd.hubsource import HubSource, presets
from askd.stream import WINDOW, StreamData

LANES, MICRO = 4, 2
SHARDS = [(47, 20), (60, 11), (44, 30)]  # rows, rows of a group
ROWS = sum(rows for rows, _ in SHARDS)
GROUPS = sum(-(-rows // group) for rows, group in SHARDS)


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "hf"))
    datasets.disable_progress_bars()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in a loader's worker; the pieces are too short to share out
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def table(clips):
    """Pieces of 0.1 to 0.4 s of real clips, each with a text of its own."""
    samples, rng, made = np.concatenate([clip.samples() for clip in clips]), np.random.default_rng(0), []
    for i in range(ROWS):
        length, content = int(rng.integers(1600, 6400)), io.BytesIO()
        start = int(rng.integers(len(samples) - length))
        soundfile.write(content, samples[start : start + length], SAMPLING_RATE_HZ, format="FLAC", subtype="PCM_16")
        made.append({"audio": {"bytes": content.getvalue(), "path": f"{i}.flac"}, "text": f"sentence {i}", "speaker": str(i % 3)})
    return made


def write(folder, table, split="train"):
    (folder / "data").mkdir(parents=True, exist_ok=True)
    start = 0
    for shard, (rows, group) in enumerate(SHARDS):
        part = pa.Table.from_pylist(table[start : start + rows])
        pq.write_table(part, folder / f"data/{split}-{shard:05d}-of-{len(SHARDS):05d}.parquet", row_group_size=group)
        start += rows
    return folder


@pytest.fixture(scope="module")
def corpus(table, tmp_path_factory):
    """151 rows in three shards with eleven groups of 5 to 30 rows."""
    return write(tmp_path_factory.mktemp("corpus"), table)


@pytest.fixture
def stream(tiny_en):
    def make(*domains, role="train", lanes=LANES, micro=MICRO, seed=0, skip_bad=False):
        names = [f"hub:{name}" if not isinstance(name, str) else name for name in domains]
        return StreamData(names, role, tiny_en.model, tiny_en.processor, lanes, micro, seed, skip_bad)

    return make


def row_of(example):
    return int(re.fullmatch(r"hub:.*, split train, row (\d+)", example.where)[1])


def rows_of(stream, steps, lanes=range(LANES)):
    return [[[row_of(e) for e in stream.examples(step, lane)] for lane in lanes] for step in steps]


def test_every_row_comes_once_an_epoch_but_for_a_rest_that_is_another_each_time(corpus, stream):
    data = stream(corpus)
    assert (data.rows, data.steps_per_epoch) == (ROWS, ROWS // (LANES * MICRO))
    seen = []
    for epoch in range(3):
        steps = range(epoch * data.steps_per_epoch, (epoch + 1) * data.steps_per_epoch)
        rows = np.array(rows_of(data, steps))
        assert rows.shape == (data.steps_per_epoch, LANES, MICRO)
        assert len(set(rows.flat)) == rows.size and set(rows.flat) <= set(range(ROWS))
        seen.append(rows)
    assert not any(np.array_equal(a, b) for a, b in itertools.pairwise(seen))
    rests = [frozenset(range(ROWS)) - set(rows.flat) for rows in seen]
    assert len(set(rests)) == 3 and all(len(rest) < LANES * MICRO for rest in rests)
    first, second = (set(rows[:, 0].flat) for rows in seen[:2])
    assert len(first & second) < len(first) / 2  # a lane has other groups


def test_rows_of_one_large_group_are_shuffled_too(tmp_path, table, stream):
    (tmp_path / "one/data").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(table), tmp_path / "one/data/train-00000-of-00001.parquet")
    data = stream(tmp_path / "one")
    windows = [set(np.ravel(rows_of(data, range(start, start + WINDOW), [0]))) for start in (0, data.steps_per_epoch)]
    assert all(max(window) - min(window) > 2 * len(window) for window in windows)
    assert len(windows[0] & windows[1]) < WINDOW * MICRO / 2


def test_an_example_is_its_row(corpus, stream, table, tiny_en):
    for example in stream(corpus).examples(3, 1):
        row = table[row_of(example)]
        torch.testing.assert_close(example.features, log_mel(read_audio(row["audio"]["bytes"])), atol=1e-5, rtol=0)
        assert example.tokens == encode_text(tiny_en.model, tiny_en.processor, row["text"])
        assert tiny_en.processor.tokenizer.decode(example.tokens[example.prompt : -1]) == " " + row["text"]
        assert (example.frames, example.label_tokens) == (example.features.shape[1], len(example.tokens) - example.prompt)


def test_any_number_of_processes_computes_the_same_micro_batches(corpus, stream):
    sent, steps = pickle.dumps(stream(corpus)), (0, 7, 15, 16, 17, 18, 30)
    alone = pickle.loads(sent)
    want = {(step, lane): alone.examples(step, lane) for step in steps for lane in range(LANES)}
    assert len(pickle.dumps(alone)) < len(sent) + 1000  # what it holds of the files stays here
    for processes in (2, 4):
        for process in range(processes):
            data = pickle.loads(sent)
            for step in steps:
                for lane in range(process, LANES, processes):
                    for got, wanted in zip(data.examples(step, lane), want[step, lane], strict=True):
                        assert (got.where, got.tokens) == (wanted.where, wanted.tokens)
                        assert torch.equal(got.features, wanted.features)


def test_jumping_to_a_step_equals_walking_there(corpus, stream):
    walked = rows_of(stream(corpus), range(40))
    jumping = stream(corpus)
    for step in (1, 15, 16, 17, 18, 35, 36, 39, 2, 20, 38, 2):
        assert rows_of(stream(corpus), [step]) == rows_of(jumping, [step]) == [walked[step]]
    assert rows_of(stream(corpus, seed=1), range(40)) != walked


def test_a_lane_reads_its_own_groups_once_and_lets_them_go(corpus, stream, monkeypatch):
    reads, read = [], StreamData._read
    monkeypatch.setattr(StreamData, "_read", lambda self, group: reads.append((lane, group)) or read(self, group))
    data = stream(corpus)
    for step in range(data.steps_per_epoch):
        for lane in range(LANES):
            data.examples(step, lane)
            window = data._windows[lane]
            assert window.tables.keys() == {group for group, _ in window.rows}
    assert max(Counter(reads).values()) == 1
    assert len(reads) < GROUPS + LANES  # where two lanes meet, both read the group
    assert all(table.column_names == ["audio", "text"] for table, _ in window.tables.values())


def test_a_file_that_another_lane_needs_is_not_opened(table, tmp_path, stream):
    data = stream(write(tmp_path / "copy", table))
    own = {data._groups[g].file for step in (0, 16) for g in (data.examples(step, 0), data._windows[0].tables)[1]}
    others = {group.file for group in data._groups} - own
    for file in others:
        open(file, "wb").close()
    assert others and len(rows_of(data, range(data.steps_per_epoch), [0])) == data.steps_per_epoch
    with pytest.raises(ManifestError, match=r"split train, row \d+ and the \d+ after it \(data.train-0000\d-of-00003.parquet\)"):
        rows_of(data, range(data.steps_per_epoch))


def test_micro_batches_are_of_similar_length(corpus, stream, table):
    data = stream(corpus)
    size = [len(row["audio"]["bytes"]) for row in table]
    sizes = np.array([[size[row] for row in step[0]] for step in rows_of(data, range(WINDOW), [2])])
    in_turn = sizes[np.argsort(sizes[:, 0])]
    assert (in_turn[1:].min(1) >= in_turn[:-1].max(1)).all()
    assert not np.array_equal(in_turn, sizes)  # and not from short to long


class Steps(Dataset):
    """As training reads: a step of one process is an item."""

    def __init__(self, data, lanes):
        self.data, self.lanes = data, lanes

    def __getitem__(self, step):
        examples = [self.data.examples(step, lane) for lane in self.lanes]
        return [e.where for micro in examples for e in micro], [collate(micro, range(MICRO)) for micro in examples]


def test_loader_workers_change_nothing(corpus, stream):
    data, steps = stream(corpus), range(14, 22)  # over the end of a window and of an epoch
    loader = DataLoader(Steps(data, [1, 3]), None, sampler=steps, num_workers=2, multiprocessing_context="fork")
    alone, count = Steps(stream(corpus), [1, 3]), 0
    for step, (where, batches) in zip(steps, loader, strict=True):
        wanted, expected = alone[step]
        assert where == wanted
        assert all(torch.equal(a.features, b.features) for a, b in zip(batches, expected, strict=True))
        assert all(torch.equal(a.labels, b.labels) for a, b in zip(batches, expected, strict=True))
        count += 1
    assert count == len(steps)


def spoil(table, **changes):
    """A copy with columns of some rows replaced: ``spoil(table, text={3: None})``."""
    return [row | {column: new[i] for column, new in changes.items() if i in new} for i, row in enumerate(table)]


def wav(seconds):
    content = io.BytesIO()
    soundfile.write(content, np.zeros(int(seconds * 8000)), 8000, format="WAV", subtype="ULAW")
    return {"bytes": content.getvalue(), "path": "a.wav"}


@pytest.mark.parametrize("column, value, message", [
    ("text", None, "column text: empty transcript"),
    ("text", " ", "column text: empty transcript"),
    ("text", "one word " * 250, "tokens, more than the decoder's 448"),
    ("audio", None, "column audio: no sound"),
    ("audio", {"bytes": b"RIFF of nothing", "path": "a.wav"}, "cannot be read as audio"),
    ("audio", wav(0), "holds no samples"),
    ("audio", wav(30.5), "lasts 30.5 s; at most 30 s fit"),
])
def test_a_bad_row_is_named_or_another_stands_in(tmp_path, table, stream, capsys, column, value, message):
    folder = write(tmp_path / "bad", spoil(table, **{column: {60: value}}))
    one = dict(lanes=1, micro=1)  # so that nothing is left over and every row is asked for
    with pytest.raises(ManifestError, match=f"split train, row 60[:,].*{message}"):
        rows_of(stream(folder, **one), range(ROWS), [0])
    assert capsys.readouterr().out == ""
    data = stream(folder, **one, skip_bad=True)
    rows = np.ravel(rows_of(data, range(ROWS), [0]))
    assert set(rows) == set(range(ROWS)) - {60} and len(rows) == ROWS
    ((where, why),) = data.bad.items()
    assert where.endswith("row 60") and re.search(message, why)
    assert re.search(f"left out 1 rows so far in process .*row 60[:,].*{message}", capsys.readouterr().out)


def test_text_that_is_not_utf8_is_a_bad_row(tmp_path, table, stream):
    part = pa.Table.from_pylist(table[:16])
    text = pa.array([b"caf\xe9" if i == 5 else b"fine" for i in range(16)]).view(pa.string())
    (tmp_path / "latin/data").mkdir(parents=True)
    pq.write_table(part.set_column(1, "text", text), tmp_path / "latin/data/train-00000-of-00001.parquet")
    with pytest.raises(ManifestError, match=r"row 5: cannot be read .UnicodeDecodeError"):
        rows_of(stream(tmp_path / "latin", lanes=1), range(8), [0])
    data = stream(tmp_path / "latin", lanes=1, skip_bad=True)
    assert len(set(np.ravel(rows_of(data, range(8), [0])))) == 15


def test_rows_left_out_leave_the_plan_as_it_is(tmp_path, table, corpus, stream, monkeypatch, capsys):
    rng = np.random.default_rng(1)
    text = {int(i): ["<SIL>", None, "one word " * 250, ""][i % 4] for i in rng.choice(ROWS, 40, replace=False)}
    noise = {i: {"bytes": bytes(len(table[i]["audio"]["bytes"])), "path": None} for i in (7, 77)}
    folder = write(tmp_path / "tagged", spoil(table, text=text, audio=noise))
    monkeypatch.setitem(presets(), "tagged", HubSource(str(folder), name="tagged", drop=("<SIL>",)))
    data, out = stream("hub:tagged", skip_bad=True), text.keys() | noise.keys()
    steps = range(data.steps_per_epoch)
    planned, got = np.array(rows_of(stream(corpus), steps)), np.array(rows_of(data, steps))
    kept = ~np.isin(planned, list(out))
    assert (planned[kept] == got[kept]).all() and not np.isin(got, list(out)).any()
    for window in (slice(0, WINDOW), slice(WINDOW, None)):
        for lane in range(LANES):
            assert set(got[window, lane].flat) <= set(planned[window, lane].flat)
    for step in (0, 5, 17):  # whoever comes first to a row, the same one stands in
        assert np.array_equal(rows_of(stream("hub:tagged", skip_bad=True), [step], [3, 2])[0], got[step, [3, 2]])
    dropped = {i for i, value in text.items() if value == "<SIL>"}
    assert {int(where.split()[-1]) for where in data.bad} <= out - dropped  # what the source drops is not bad
    said = capsys.readouterr().out.splitlines()
    assert len([line for line in said if line.startswith("left out 16 rows so far")]) == 1


def test_a_window_without_a_usable_row_is_an_error(tmp_path, table, stream):
    folder = write(tmp_path / "mute", spoil(table, text=dict.fromkeys(range(ROWS))))
    with pytest.raises(ManifestError, match=r"none of 32 rows read together can be used: .*empty transcript"):
        stream(folder, skip_bad=True).examples(0, 0)


def test_several_data_sets_are_mixed_and_keep_their_options(tmp_path, table, stream, tiny_en):
    loud = [{"sound": row["audio"], "words": row["text"].upper()} for row in table]
    one, two = write(tmp_path / "one", table), write(tmp_path / "two", loud, "validated")
    data = stream(one, f"hub:{two}?train=validated&casing=sentence&audio=sound&text=words")
    assert data.rows == 2 * ROWS
    counts = Counter()
    for step in range(data.steps_per_epoch):
        for lane in range(LANES):
            for example in data.examples(step, lane):
                text = tiny_en.processor.tokenizer.decode(example.tokens[example.prompt : -1])
                where, row = re.fullmatch(r"hub:.*/(one, split train|two.*, split validated), row (\d+)", example.where).groups()
                assert text == (f" sentence {row}" if where.startswith("one") else f" Sentence {row}.")
                counts[where] += 1
    assert all(count > ROWS - LANES * MICRO for count in counts.values()) and len(counts) == 2


def test_one_split_alone_has_the_role_all(corpus, stream):
    assert stream(f"hub:{corpus}?split=train", role="all").rows == ROWS
    with pytest.raises(AskdError, match="has no 'train' split to stream, only all"):
        stream(f"hub:{corpus}?split=train")


def test_the_digest_is_of_what_is_read(tmp_path, table, corpus, stream):
    want = stream(corpus).digest
    moved = shutil.copytree(corpus, tmp_path / "moved")
    assert stream(moved).digest == stream(moved, lanes=2, seed=5).digest == want
    assert stream(f"hub:{moved}?casing=sentence").digest != want
    assert stream(write(tmp_path / "less", table[:-1])).digest != want
    assert stream(write(tmp_path / "other", spoil(table, text={0: "something else entirely"}))).digest != want


def test_a_remote_file_is_read_like_one_that_lies_here(tmp_path, corpus, stream):
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.put(str(corpus / "data"), "/far/data", recursive=True)
    (tmp_path / "remote").mkdir()
    lines = ["---", "configs:", "- config_name: default", "  data_files:", "  - split: train", "    path: memory://far/data/*"]
    (tmp_path / "remote/README.md").write_text("\n".join([*lines, "---", ""]), encoding="utf-8")
    far, here = stream(tmp_path / "remote"), stream(corpus)
    assert all(group.file.startswith("memory://") for group in far._groups)
    assert rows_of(far, [0, 17]) == rows_of(here, [0, 17])
    memory.rm("/far", recursive=True)


def test_what_is_not_parquet_says_how_to_make_it_so(tmp_path, clips, stream):
    folder = tmp_path / "spoken"
    folder.mkdir()
    for i, clip in enumerate(clips):
        shutil.copy(clip.path, folder / f"{i}.flac")
    lines = [f"{i}.flac,{i} is a number" for i in range(len(clips))]
    (folder / "metadata.csv").write_text("\n".join(["file_name,text", *lines, ""]), encoding="utf-8")
    clips_to_dataset(clips).save_to_disk(tmp_path / "saved")
    for name, why, role in [
        ("neural_clean", "neural_clean is synthetic", "train"), (str(folder), "spoken is folder", "all"),
        (f"hub:{folder}", "lies here as audiofolder", "train"),
        (f"hub:{tmp_path / 'saved'}", "lies here as save_to_disk", "train"),
    ]:
        with pytest.raises(AskdError, match=rf"{why}: only .*Parquet.*without streaming, or convert it.*to_dataset\('{role}'\)"):
            stream(name, role=role)
    converted = tmp_path / "converted/data/all-00000-of-00001.parquet"
    get_domain(str(folder)).to_dataset("all").to_parquet(converted)  # as the message says
    data = stream(f"hub:{tmp_path / 'converted'}?split=all", role="all", lanes=2, micro=3)
    assert len({e.where for step in range(2) for lane in range(2) for e in data.examples(step, lane)}) == len(clips)


def test_wrong_data_is_refused_before_the_first_step(tmp_path, table, corpus, stream):
    with pytest.raises(AskdError, match="151 rows are fewer than one batch of 160: choose a smaller batch"):
        stream(corpus, lanes=10, micro=16)
    with pytest.raises(UnknownName, match=r"option text.*'words'.*known are audio, speaker, text"):
        stream(f"hub:{corpus}?text=words")
    with pytest.raises(UnknownName, match=r"unknown split of .*known are train"):
        stream(corpus, role="test")
    folder = shutil.copytree(corpus, tmp_path / "broken")
    second = folder / "data/train-00001-of-00003.parquet"
    second.write_bytes(second.read_bytes()[:-100])
    with pytest.raises(ManifestError, match=r"file data.train-00001-of-00003.parquet: cannot be read .ArrowInvalid"):
        stream(folder)
    pq.write_table(pa.Table.from_pylist([{"audio": row["audio"]} for row in table[:9]]), second)
    with pytest.raises(ManifestError, match=r"file data.train-00001-of-00003.parquet: lacks the column text"):
        stream(folder)
