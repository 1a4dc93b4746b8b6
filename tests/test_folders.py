"""Folders of recordings: every layout is read, and no fault of a row or a file gets through."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from askd.errors import ManifestError, UnknownName
from askd.foldercheck import FolderReport, check_folder
from askd.folders import LAYOUTS, SUFFIXES, read_folder, sentence_case, usable_records

TEXT = "the cat sat on the mat"


def sound(path: Path, seconds: float = 1.5, rate_hz: int = 16_000, channels: int = 1, seed: int = 0) -> Path:
    """A real file: noise, another for each seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.random.default_rng(seed).uniform(-0.3, 0.3, (round(seconds * rate_hz), channels))
    options = {"format": "OGG", "subtype": "OPUS"} if path.suffix == ".opus" else {}
    soundfile.write(path, samples, rate_hz, **options)
    return path


def table(path: Path, *rows: str, end: str = "\n", encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(row + end for row in rows).encode(encoding))
    return path


def audiofolder(root):
    sound(root / "a.wav", rate_hz=8_000)
    sound(root / "deep" / "b.flac", rate_hz=44_100, channels=2, seed=1)
    rows = f'a.wav,"{TEXT}, said he",ann,home', f"deep/b.flac,{TEXT},,"
    table(root / "metadata.csv", "file_name,transcription,speaker_id,domain", *rows)
    return root, [(f"{TEXT}, said he", "ann", "a.wav"), (TEXT, "deep/b.flac", "b.flac")]


def audiofolder_in_parts(root):
    for part in ("train", "test"):
        sound(root / part / "a.ogg", seed=len(part))
        table(root / part / "metadata.jsonl", json.dumps({"file_name": "a.ogg", "text": part, "speaker": 7}))
    return root, [("test", "7", "a.ogg"), ("train", "7", "a.ogg")]


def kaldi(root):
    sound(root / "data" / "here.wav")
    sound(root / "audio" / "there.mp3", seed=1, rate_hz=44_100)
    table(root / "data" / "wav.scp", "u1 here.wav", "u2  audio/there.mp3")
    table(root / "data" / "text", f"u2\t{TEXT}", f"u1 {TEXT}")
    table(root / "data" / "utt2spk", "u1 bob", "u2 ann")
    return root / "data", [(TEXT, "ann", "there.mp3"), (TEXT, "bob", "here.wav")]


def librispeech(root):
    chapter = root / "corpus" / "84" / "121"
    sound(chapter / "84-121-0000.opus")
    sound(chapter / "84-121-0001.flac", seed=1)
    table(chapter / "84-121.trans.txt", "84-121-0000 THE CAT", "84-121-0001 THE MAT")
    return root, [("THE CAT", "84", "84-121-0000.opus"), ("THE MAT", "84", "84-121-0001.flac")]


def ljspeech(root):
    sound(root / "wavs" / "LJ1.wav", rate_hz=22_050)
    sound(root / "wavs" / "LJ2.flac", seed=1)
    table(root / "metadata.csv", 'LJ1|In 1455, a "book|In fourteen fifty-five, a "book', "LJ2|printed")
    return root, [('In fourteen fifty-five, a "book', root.name, "LJ1.wav"), ("printed", root.name, "LJ2.flac")]


def common_voice(root):
    sound(root / "clips" / "one.mp3")
    sound(root / "clips" / "two.opus", seed=1)
    table(root / "dev.tsv", "client_id\tpath\tsentence\tup_votes", 'c1\tone.mp3\t"Stop", he said\t2')
    table(root / "train.tsv", "path\tsentence", f"two.mp3\t{TEXT}")  # converted without a new table
    return root, [(TEXT, "two.mp3", "two.opus"), ('"Stop", he said', "c1", "one.mp3")]


def plain_csv(root):
    sound(root / "a b.wav")
    return table(root / "mine.csv", "id,path,text,speaker", "", f"x,a b.wav,{TEXT},ann"), [(TEXT, "ann", "a b.wav")]


def nemo(root):
    sound(root / "é.wav")
    row = {"audio_filepath": str(root / "é.wav"), "text": "café\u2028au lait", "duration": 1.5}
    return table(root / "m.jsonl", json.dumps(row, ensure_ascii=False)), [("café au lait", str(root / "é.wav"), "é.wav")]


MAKERS = {
    "audiofolder": audiofolder, "audiofolder in parts": audiofolder_in_parts, "kaldi": kaldi, "librispeech": librispeech,
    "ljspeech": ljspeech, "common_voice": common_voice, "csv": plain_csv, "csv, NeMo": nemo,
}


@pytest.mark.parametrize("name", MAKERS)
def test_every_layout_is_recognised_read_and_found_good(name, tmp_path):
    path, wanted = MAKERS[name](tmp_path / "corpus")
    listing = read_folder(path)
    layout = name.split(",")[0].split()[0]
    assert (listing.layout, listing.problems) == (layout, ())
    assert [(r.text, r.speaker, r.audio.name) for r in usable_records(listing)] == wanted
    assert len({r.id for r in listing.records}) == len(wanted)
    assert read_folder(path, layout) == listing
    report = check_folder(path, progress=False)
    assert report.ok and report.recordings == len(wanted) and report.audio_s == pytest.approx(1.5 * len(wanted), abs=0.15)
    assert {w.what.partition(":")[0] for w in report.warnings} <= {"capitals", "digits in transcript"}
    assert set(LAYOUTS) == {name.split(",")[0].split()[0] for name in MAKERS}


@pytest.mark.parametrize("name", MAKERS)
def test_windows_line_endings_and_byte_order_marks_change_nothing(name, tmp_path):
    path, _ = MAKERS[name](tmp_path)
    before = read_folder(path)
    for file in tmp_path.rglob("*"):
        if file.is_file() and file.suffix in ("", ".csv", ".tsv", ".jsonl", ".txt", ".scp"):
            file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n"))
    assert read_folder(path) == before


def test_a_part_of_a_corpus(tmp_path):
    path, _ = common_voice(tmp_path / "cv")
    assert [r.audio.name for r in read_folder(path, part="dev").records] == ["one.mp3"]
    assert [r.audio.name for r in read_folder(path / "dev.tsv").records] == ["one.mp3"]
    assert read_folder(path, part="test").problems[0].where == "test.tsv"
    path, _ = audiofolder_in_parts(tmp_path / "parts")
    assert [r.text for r in read_folder(path, part="train").records] == ["train"]
    assert read_folder(path / "train", part="train") == read_folder(path, part="train")
    with pytest.raises(ManifestError, match="no part 'dev'"):
        read_folder(path, part="dev")


def test_audio_elsewhere_and_a_path_through_the_parent(tmp_path):
    sound(tmp_path / "audio" / "a.wav")
    csv = table(tmp_path / "tables" / "t.csv", "file,transcript", f"a.wav,{TEXT}")
    assert read_folder(csv, audio_root=tmp_path / "audio").records[0].audio == tmp_path / "audio" / "a.wav"
    table(csv, "file,transcript", f"../audio/a.wav,{TEXT}", f"../../a.wav,{TEXT}")
    listing = read_folder(csv)
    assert [r.where for r in listing.records] == ["t.csv, row 2"] and listing.problems[0].where == "t.csv, row 3, column file"


def test_what_is_no_layout_lists_the_layouts_and_what_is_there(tmp_path):
    (tmp_path / "notes.docx").touch()
    for wrong in ((tmp_path,), (tmp_path, "kaldi"), (tmp_path / "notes.docx",)):
        with pytest.raises(ManifestError, match=r"notes\.docx") as caught:
            read_folder(*wrong)
        assert all(layout.needs in str(caught.value) for layout in LAYOUTS.values())
    with pytest.raises(ManifestError, match="cannot be read"):
        read_folder(tmp_path / "nowhere")
    with pytest.raises(UnknownName, match="did you mean 'kaldi'"):
        read_folder(tmp_path, "kaldy")
    audiofolder(tmp_path)
    table(tmp_path / "wav.scp", "u a.wav")
    table(tmp_path / "text", f"u {TEXT}")
    with pytest.raises(ManifestError, match=r"several layouts fit, audiofolder and kaldi.*`--layout audiofolder`"):
        read_folder(tmp_path)
    assert read_folder(tmp_path, "kaldi").records[0].text == TEXT


@pytest.mark.parametrize(
    ("rows", "where", "what"),
    [
        (["file_name,words", f"a.wav,{TEXT}"], "row 1", "no column text: found file_name, words; needed is text or"),
        (["name,text", f"a.wav,{TEXT}"], "row 1", "no column path: found name, text"),
        (["path;text", f"a.wav;{TEXT}"], "row 1", "no column path: found path;text"),
        ([], "row 1", "no column path: found nothing"),
        (["path,text"], "", "no rows"),
        (["path,text", "", "a.wav,"], "row 3, column text", "empty transcript: of a.wav"),
        (["path,text", "a.wav"], "row 2, column text", "empty transcript"),
        (["path,text", "a.wav, -- "], "row 2, column text", "empty transcript"),
        (["path,text", f",{TEXT}"], "row 2, column path", "empty path"),
        (["path,text", f"b.wav,{TEXT}"], "row 2, column path", "missing audio file: "),
        (["path,text", "a.wav,one, two"], "row 2", "more cells than columns: 3, not 2"),
        (["path,text", 'a.wav,"one', "a.wav,two"], "row 2", "unbalanced quotes"),
        (["path,text", 'a.wav,"one', 'a.wav,two"', "a.wav,three"], "row 2", "line break in a cell"),
        (["path,text", "a.wav,one", "./a.wav,two"], "row 3, column path", "duplicate path: a.wav is also in t.csv, row 2"),
        (["id,path,text", "1,a.wav,one", "1,c.wav,two"], "row 3", "duplicate id: 1 is also in t.csv, row 2"),
    ],
)
def test_a_faulty_table_is_named_by_row_and_column(tmp_path, rows, where, what):
    sound(tmp_path / "a.wav")
    sound(tmp_path / "c.wav")
    listing = read_folder(table(tmp_path / "t.csv", *rows))
    assert listing.problems[0].where == ("t.csv, " + where if where else "t.csv")
    assert listing.problems[0].what.startswith(what)
    with pytest.raises(ManifestError, match=re.escape(str(listing.problems[0]))):
        usable_records(listing)


@pytest.mark.parametrize(
    "line", ["{", "[1]", '{"path": "a.wav"}', '{"path": "a.wav", "text": NaN}', '{"path": {"a": 1}, "text": "b"}']
)
def test_faulty_json_lines(tmp_path, line):
    sound(tmp_path / "a.wav")
    sound(tmp_path / "b.wav")
    listing = read_folder(table(tmp_path / "t.jsonl", '{"path": "b.wav", "text": "fine"}', line))
    assert len(listing.records) == len(listing.problems) == 1
    assert listing.problems[0].where.startswith("t.jsonl, row 2")


@pytest.mark.parametrize(("encoding", "row"), [("latin-1", 3), ("utf-16", 1)])
def test_text_that_is_not_utf8_is_named_by_row(tmp_path, encoding, row):
    sound(tmp_path / "a.wav")
    listing = read_folder(table(tmp_path / "t.csv", "path,text", f"a.wav,{TEXT}", "b.wav,café", encoding=encoding))
    assert (listing.problems[0].where, listing.records) == (f"t.csv, row {row}", ())
    assert "not UTF-8: byte 0x" in listing.problems[0].what


def test_faults_of_kaldi_folders(tmp_path):
    for name in "abc":
        sound(tmp_path / f"{name}.wav", seed=ord(name))
    table(tmp_path / "wav.scp", "a a.wav", "p sph2pipe -f wav p.sph |", "b b.wav", "lone c.wav", "b a.wav", "nopath")
    table(tmp_path / "text", "a hello", "p hello", "b", "gone hello", "nopath hello")
    listing = read_folder(tmp_path)
    assert [r.id for r in listing.records] == ["a"]
    found = {problem.where: problem.what for problem in listing.problems}
    kinds = {
        "wav.scp, row 2": "a command, not a file: of p; run it once", "text, row 3": "empty transcript: of b",
        "wav.scp, row 4": "no transcript: lone", "wav.scp, row 5": "duplicate id: b is also in wav.scp, row 3",
        "wav.scp, row 6": "empty path", "text, row 4": "no audio: gone",
    }
    assert found.keys() == kinds.keys() and all(found[where].startswith(what) for where, what in kinds.items())
    table(tmp_path / "utt2spk", "b ann")
    assert "no speaker: a is not in utt2spk" in [p.what for p in read_folder(tmp_path).problems]
    (tmp_path / "text").unlink()
    assert [str(p) for p in read_folder(tmp_path).problems][-1:] == ["text: cannot be read: No such file or directory"]
    table(tmp_path / "segments", "a-1 a 0.0 1.0")
    assert [p.what.partition(":")[0] for p in read_folder(tmp_path).problems] == ["segments are not supported"]


def test_faults_of_librispeech_and_ljspeech_trees(tmp_path):
    libri, _ = librispeech(tmp_path / "libri")
    chapter = next(libri.rglob("*.trans.txt")).parent
    sound(chapter / "84-121-0009.flac")
    table(chapter / "84-121.trans.txt", "84-121-0000 THE CAT", "84-121-0001", "84-121-0002 THE MAT")
    listing = read_folder(libri)
    at = "corpus/84/121"
    assert [(p.where, p.what.partition(":")[0]) for p in listing.problems] == [
        (f"{at}/84-121.trans.txt, row 2", "empty transcript"), (f"{at}/84-121.trans.txt, row 3", "missing audio file"),
        (f"{at}/84-121-0009.flac", "no transcript"),
    ]
    lj, _ = ljspeech(tmp_path / "lj")
    table(lj / "metadata.csv", "LJ1|a|b", "LJ1|a|b", "LJ2||", "LJ3|a|b", "LJ4")
    assert [(p.where, p.what.partition(":")[0]) for p in read_folder(lj).problems] == [
        ("metadata.csv, row 2, column 1", "duplicate path"), ("metadata.csv, row 3, column 2", "empty transcript"),
        ("metadata.csv, row 4, column 1", "missing audio file"), ("metadata.csv, row 5", "no column 2"),
    ]


def test_skip_bad_leaves_out_and_counts(tmp_path, capsys):
    sound(tmp_path / "a.wav")
    missing = [f"gone{i}.wav,{TEXT}" for i in range(30)]
    listing = read_folder(table(tmp_path / "t.csv", "path,text", f"a.wav,{TEXT}", *missing, "a.wav,"))
    counted = "32 problems (30 missing audio file, 1 empty transcript, 1 duplicate path)"
    with pytest.raises(ManifestError, match=re.escape(counted)) as caught:
        usable_records(listing)
    assert "row 22," in str(caught.value) and "row 23," not in str(caught.value) and "and 12 more" in str(caught.value)
    assert [r.where for r in usable_records(listing, skip_bad=True)] == ["t.csv, row 2"]
    assert f"left out {counted}; 1 recordings are left" in capsys.readouterr().out
    with pytest.raises(ManifestError, match="no recording is usable"):
        usable_records(read_folder(table(tmp_path / "u.csv", "path,text", *missing)), skip_bad=True)


def broken_folder(root: Path) -> tuple[Path, dict[str, str], dict[str, str]]:
    """Every fault at once: row -> kind of problem, row -> kind of warning; the first four rows are good."""
    good = {
        "good.wav": {}, "good.flac": {"rate_hz": 44_100, "channels": 2}, "good.mp3": {"rate_hz": 44_100},
        "good.opus": {"rate_hz": 8_000},
    }
    for seed, (name, options) in enumerate(good.items()):
        sound(root / name, seed=seed, **options)
    table(root / "text.wav", "these are not samples")
    (root / "zero.wav").touch()
    sound(root / "nothing.wav", seconds=0)
    for name in ("cut.flac", "cut.wav", "cut.ogg", "cut.mp3"):
        whole = sound(root / name, seconds=6).read_bytes()
        (root / name).write_bytes(whole[: len(whole) // 2])
    samples = np.zeros(16_000, np.float32)
    samples[100] = np.nan
    soundfile.write(root / "nan.wav", samples, 16_000, subtype="FLOAT")
    sound(root / "long.flac", seconds=31)
    soundfile.write(root / "silent.wav", np.full(16_000, 1e-4), 16_000, subtype="FLOAT")
    soundfile.write(root / "clipped.wav", np.sign(np.sin(np.arange(24_000) / 9)), 16_000)
    sound(root / "slow.wav", rate_hz=4_000, seed=20)
    sound(root / "hasty.wav", seconds=0.3, seed=21)
    sound(root / "idle.wav", seconds=25, seed=22)
    sound(root / "numbers.wav", seed=23)
    sound(root / "capitals.wav", seed=24)
    soundfile.write(root / "copy.flac", *soundfile.read(root / "numbers.wav"))
    problems = {
        "text.wav": "unusable audio", "zero.wav": "unusable audio", "nothing.wav": "unusable audio", "cut.flac": "unusable audio",
        "cut.wav": "truncated", "cut.ogg": "truncated", "cut.mp3": "truncated", "nan.wav": "unusable audio",
        "long.flac": "too long", "gone.wav": "missing audio file",
    }
    warnings = {
        "silent.wav": "silence", "clipped.wav": "clipping", "slow.wav": "low sampling rate", "hasty.wav": "improbable pace",
        "idle.wav": "improbable pace", "numbers.wav": "digits in transcript", "capitals.wav": "capitals",
        "copy.flac": "same audio with another transcript",
    }
    texts = {"numbers.wav": "at 8 on the mat", "capitals.wav": TEXT.upper()}
    names = [*good, *problems, *warnings]
    table(root / "metadata.csv", "file_name,text", *(f"{name},{texts.get(name, TEXT)}" for name in names), "good.wav,")
    sound(root / "forgotten.wav", seed=30)
    row = {name: f"metadata.csv, row {number}" for number, name in enumerate(names, 2)}
    return root, {row[name]: kind for name, kind in problems.items()}, {row[name]: kind for name, kind in warnings.items()}


def kinds(found) -> list[tuple[str, str]]:
    return sorted((p.where.partition(", column")[0], p.what.partition(":")[0]) for p in found)


def test_the_check_reports_every_fault_of_a_folder_at_once_and_flags_no_good_file(tmp_path):
    root, problems, warnings = broken_folder(tmp_path / "broken")
    report = check_folder(root, progress=False)
    last = "metadata.csv, row 24"
    assert kinds(report.problems) == sorted([*problems.items(), (last, "duplicate path"), (last, "empty transcript")])
    assert kinds(report.warnings) == sorted([*warnings.items(), ("forgotten.wav", "no row")])
    assert (report.ok, report.recordings, report.speakers) == (False, 12, 12)
    assert report.rates_hz == {16_000: 8, 44_100: 2, 8_000: 1, 4_000: 1} and report.formats["FLAC PCM_16 2 channels"] == 1
    text = report.as_text()
    assert all(f"    {problem}" in text for problem in report.problems)
    for where, kind in warnings.items():
        assert f"    {where}: {kind}: " in text
    assert "--casing sentence" in text and "more" not in text


def test_the_report_shows_every_problem_and_the_first_warnings_of_a_kind(tmp_path):
    for i in range(7):
        sound(tmp_path / f"{i}.wav", seed=i)
    rows = [f"{i}.wav,{'at 8' if i < 5 else 'sat'} on the mat" for i in range(7)] + [f"gone{i}.wav,{TEXT}" for i in range(50)]
    report = check_folder(table(tmp_path / "t.csv", "path,text", *rows), progress=False)
    assert (len(report.problems), len(report.warnings)) == (50, 5)
    short, long = report.as_text(), report.as_text(all_warnings=True)
    assert all(f"    {problem}" in text for problem in report.problems for text in (short, long))
    assert [f"    {warning}" in short for warning in report.warnings] == [True] * 4 + [False]
    assert "    and 1 more (--all shows them)" in short and "more" not in long
    assert all(f"    {warning}" in long for warning in report.warnings)


@pytest.mark.parametrize("suffix", [".WAV", ".FLAC"])
def test_upper_case_suffixes_are_found_where_a_layout_gives_ids_alone(tmp_path, suffix):
    for maker in (librispeech, ljspeech, common_voice):
        path, wanted = maker(tmp_path / maker.__name__)
        for file in [file for file in path.rglob("*") if file.suffix in SUFFIXES]:
            soundfile.write(file.with_suffix(suffix), *soundfile.read(file))
            file.unlink()
        listing = read_folder(path)
        assert listing.problems == () and [r.text for r in listing.records] == [text for text, *_ in wanted]
        assert {r.audio.suffix for r in listing.records} == {suffix} and check_folder(path, progress=False).ok
        sound((path / "clips" if maker is common_voice else listing.records[0].audio.parent) / f"unlisted{suffix}", seed=9)
    assert [p.what for p in read_folder(tmp_path / "librispeech").problems] == ["no transcript: in no .trans.txt beside it"]


def test_recordings_of_a_telephone_are_named_with_the_command_that_converts_them(tmp_path):
    path, _ = ljspeech(tmp_path / "lj")
    (path / "wavs/LJ1.wav").rename(path / "wavs/LJ1.M4A")
    (path / "wavs/LJ1.M4A").write_bytes(b"\0\0\0\x18ftypM4A ")
    (problem,) = check_folder(path, progress=False).problems
    assert problem.where == "metadata.csv, row 1" and "`ffmpeg -i LJ1.M4A LJ1.flac`" in problem.what


def test_the_limit_of_duration_is_the_callers(tmp_path):
    csv, _ = plain_csv(tmp_path)
    assert check_folder(csv, max_audio_s=1.5, progress=False).ok
    assert [p.what for p in check_folder(csv, max_audio_s=1, progress=False).problems] == [
        "too long: a b.wav lasts 1.5 s; at most 1 s fit, cut it first"
    ]


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFFFFF])
def test_a_wav_written_to_a_pipe_is_not_truncated(tmp_path, size):
    csv, _ = plain_csv(tmp_path)
    with open(tmp_path / "a b.wav", "r+b") as file:
        file.seek(40)
        file.write(size.to_bytes(4, "little"))  # the length of the data, which the writer could not know
    report = check_folder(csv, progress=False)
    assert report.ok and report.audio_s == pytest.approx(1.5)


def test_many_files_are_decoded_in_parallel_with_the_same_report(tmp_path):
    names = [f"{i}.wav" for i in range(70)]
    for i, name in enumerate(names):
        sound(tmp_path / name, seconds=0.5 + i / 100, seed=i)
    (tmp_path / "13.wav").write_bytes(b"RIFF")
    csv = table(tmp_path / "t.csv", "path,text", *(f"{name},hello there" for name in names))
    reports: list[FolderReport] = [check_folder(csv, workers=workers, progress=False) for workers in (1, 2)]
    assert reports[0] == reports[1]
    assert [p.where for p in reports[0].problems] == ["t.csv, row 15"]


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("HE SAID I'LL GO", "He said I'll go."),
        ("so do i", "So do I."),
        ("i'm sure i've seen what i'd like and i think i can", "I'm sure I've seen what I'd like and I think I can."),
        ("WAS IT HE? NO, IT WAS I!", "Was it he? No, it was I!"),
        ("He met Anna", "He met Anna."),
        ("it's in hawai'i and wi-fi", "It's in hawai'i and wi-fi."),
        ("“WELL.”", "“Well.”"),
        ("", ""),
    ],
)
def test_sentence_case(given, wanted):
    assert sentence_case(given) == wanted
    assert sentence_case(wanted) == wanted
