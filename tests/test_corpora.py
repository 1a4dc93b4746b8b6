"""Public corpora: fetched whole or not at all, and split the same way whichever way they came.

Small corpora in the public layouts, with ids of the committed lists, from a real web server on this machine.
"""

import csv
import dataclasses
import functools
import hashlib
import io
import re
import shutil
import subprocess
import sys
import tarfile
import threading

import numpy as np
import pytest
import soundfile
from test_download import free_port, serving

from askd.audio import read_audio
from askd.corpora import CORPORA, ROLES, Corpus, CorpusUnavailable, corpus_is_here, corpus_records, get_corpus, split_ids
from askd.domains import all_domains
from askd.errors import AskdError, ManifestError, RunError, UnknownName
from askd.folders import LAYOUTS
from askd.runs import Run

TRAIN = {  # id -> speaker
    "mini_librispeech": {"1088-134315-0000": "1088", "1088-134315-0001": "1088", "118-47824-0003": "118"},
    "speechocean762": {"000360133": "0036", "000360190": "0036", "004820001": "0482"},
    "an4": {"an10-fjmd-b": "fjmd", "cen1-fjmd-b": "fjmd", "an101-mrcb-b": "mrcb"},
    "common_voice": {"sample-000000": "", "sample-000002": ""},
}
TWINS = {  # of train's speakers, with words that dev or test says
    "mini_librispeech": {f"1088-134315-000{i}": "1088" for i in (7, 8, 9)},
    "speechocean762": {f"00036013{i}": "0036" for i in (7, 8, 9)}, "an4": {f"an{i}-fjmd-b": "fjmd" for i in (7, 8, 9)},
    "common_voice": {f"sample-99999{i}": "" for i in (7, 8, 9)},
}
UNLISTED = {  # of a test speaker; Common Voice does not tell
    "mini_librispeech": {"1970-28415-9999": "1970"}, "speechocean762": {"001359999": "0135"}, "an4": {"an9999-mdxn-b": "mdxn"},
    "common_voice": {},
}
DOWNLOADED = ("mini_librispeech", "speechocean762", "an4")


def speaker_of(name, id):
    return {"mini_librispeech": lambda: id.split("-")[0], "speechocean762": lambda: id[1:5], "an4": lambda: id.split("-")[1],
            "common_voice": lambda: ""}[name]()  # fmt: skip


def rows_of(name):
    """(id, speaker, text, role): all that is listed for dev and test, three of train and three whose words are tested, one that
    is listed nowhere."""
    listed = [(id, role) for role, ids in split_ids(CORPORA[name]).items() for id in sorted(ids)]
    rows = [(id, speaker_of(name, id), f"TEXT OF {id}", role) for id, role in listed]
    rows += [(id, speaker, f"TEXT OF {id}", "train") for id, speaker in TRAIN[name].items()]
    tested = {role: f"TEXT OF {min(split_ids(CORPORA[name])[role])}" for role in ("dev", "test")}
    said = (tested["dev"], f"text of - {tested['test'][8:]}!", tested["test"].replace("TEXT", "TEX'T "))
    rows += [(id, speaker, text, "train") for (id, speaker), text in zip(TWINS[name].items(), said, strict=True)]
    return rows + [(id, speaker, "NEVER USED", None) for id, speaker in UNLISTED[name].items()]


@functools.cache
def encoded(format):
    content = io.BytesIO()
    soundfile.write(content, 0.1 * np.sin(np.arange(800)), 16000, format=format)
    return content.getvalue()


def sound(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded({".sph": "NIST"}.get(path.suffix, path.suffix[1:].upper())))


def table(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")


def librispeech(folder, rows):
    for id, speaker, text, _ in rows:
        place = folder / speaker / id.split("-")[1]
        sound(place / f"{id}.flac")
        with open(place / f"{'-'.join(id.split('-')[:2])}.trans.txt", "a", encoding="utf-8") as file:
            file.write(f"{id} {text}\n")


def public(name, root, rows):
    """The unpacked archive, as its home has it."""
    if name == "mini_librispeech":
        librispeech(root / "LibriSpeech/train-clean-5", rows)
        table(root / "LibriSpeech/README.TXT", ["about"])
    elif name == "speechocean762":
        rows = [*rows, ("100010001", "1000", "A CHILD", None)]
        for id, speaker, _, _ in rows:
            sound(root / name / f"WAVE/SPEAKER{speaker}/{id}.WAV")
        table(root / name / "train/wav.scp", [f"{id}\tWAVE/SPEAKER{speaker}/{id}.WAV" for id, speaker, _, _ in rows])
        table(root / name / "train/text", [f"{id}\t{text}" for id, _, text, _ in rows])
        table(root / name / "train/utt2spk", [f"{id}\t{speaker}" for id, speaker, _, _ in rows])
        table(root / name / "train/spk2age", sorted({f"{s}\t{9 if s == '1000' else 25}" for _, s, _, _ in rows}))
        for file in ("wav.scp", "text", "utt2spk"):
            table(root / name / "test" / file, ["200020002\tWAVE/SPEAKER2000/200020002.WAV"])
    else:
        for part, some in (("train", rows[::2]), ("test", rows[1::2])):
            where = {"train": "an4_clstk", "test": "an4test_clstk"}[part]
            for id, speaker, _, _ in some:
                sound(root / f"an4/wav/{where}/{speaker}/{id}.sph")
            table(root / f"an4/etc/an4_{part}.fileids", [f"{where}/{speaker}/{id}" for id, speaker, _, _ in some])
            marks = ("<s> ", " </s>") if part == "train" else ("", "")
            table(root / f"an4/etc/an4_{part}.transcription", [f"{marks[0]}{text}{marks[1]} ({id})" for id, _, text, _ in some])


def local(name, root, rows):
    """A copy split into train, dev and test, in the layouts people have."""
    for role in ROLES:
        some = [row for row in rows if row[3] == role]
        folder = root / name / role
        if name == "mini_librispeech":
            librispeech(folder, some)
        elif name == "speechocean762":
            for id, *_ in some:
                sound(folder / f"{id}.flac")
            table(folder / "metadata.csv", ["file_name,text,speaker", *(f"{i}.flac,{t},{s}" for i, s, t, _ in some)])
        elif name == "an4":
            for id, *_ in some:
                sound(root / name / f"audio/{id}.flac")
            table(folder / "wav.scp", [f"{id} audio/{id}.flac" for id, *_ in some])
            table(folder / "text", [f"{id} {text}" for id, _, text, _ in some])
            table(folder / "utt2spk", [f"{id} an4_{speaker}" for id, speaker, _, _ in some])
        else:
            for id, *_ in some:
                sound(root / name / f"clips/dev_{id}.flac")
            table(root / name / f"{role}.tsv", ["path\tsentence", *(f"dev_{i}.flac\t{t}" for i, _, t, _ in some)])


def packed(folder, members=()):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz", compresslevel=1) as tar:
        tar.add(folder, arcname=".")
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return content.getvalue()


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    made = {}
    for name in DOWNLOADED:
        root = tmp_path_factory.mktemp(name)
        public(name, root, rows_of(name))
        made[name] = packed(root)
    return made


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ASKD_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("ASKD_AUDIO_ROOT", raising=False)
    return tmp_path / "cache" / "corpora"


def served(name, home, content, **changes):
    """The corpus with this server, or this address, as its home."""
    checksum = f"sha256:{hashlib.sha256(content).hexdigest()}" if CORPORA[name].checksum else ""
    url = home if isinstance(home, str) else home.url("a.tar.gz")
    return dataclasses.replace(CORPORA[name], **{"urls": (url,), "size_mb": 1, "checksum": checksum} | changes)


@pytest.mark.parametrize("name", DOWNLOADED)
def test_downloaded_corpus_has_the_listed_dev_and_test_and_a_train_of_other_speakers(name, archives, cache, capsys):
    with serving({"a.tar.gz": archives[name]}) as web:
        corpus = served(name, web, archives[name])
        with pytest.raises(CorpusUnavailable, match=f"askd data get {name}"):
            corpus_records(corpus, "test")
        assert get_corpus(corpus, progress=False) == cache / name == get_corpus(corpus, progress=False)
        assert len(web.asked) == 1
    kept = {p.name for p in cache.iterdir()} - {f".{name}.lock"}
    assert kept == ({name} if corpus.checksum else {name, f"{name}.checksum"})
    parts = {role: corpus_records(corpus, role) for role in ROLES}
    assert {role: {r.id for r in parts[role]} for role in ("dev", "test")} == split_ids(corpus)
    assert {r.id: r.speaker for r in parts["train"]} == TRAIN[name]
    speakers = [{r.speaker for r in part} for part in parts.values()]
    assert not (speakers[0] & speakers[1] or speakers[0] & speakers[2] or speakers[1] & speakers[2])
    for part in parts.values():
        assert [r.id for r in part] == sorted(r.id for r in part)
        assert all(r.text == f"TEXT OF {r.id}" for r in part)
        assert len(read_audio(part[0].audio)) == 800
    assert "missing" not in capsys.readouterr().out


@pytest.mark.parametrize("name", DOWNLOADED)
def test_local_copy_and_download_give_the_same_recordings(name, archives, tmp_path, monkeypatch):
    local(name, tmp_path / "root", rows_of(name))
    with serving({"a.tar.gz": archives[name]}) as web:
        corpus = served(name, web, archives[name])
        get_corpus(corpus, progress=False)
    downloaded = {role: [(r.id, r.text) for r in corpus_records(corpus, role)] for role in ROLES}
    monkeypatch.setenv("ASKD_AUDIO_ROOT", str(tmp_path / "root"))
    for root in (None, tmp_path / "root"):
        found = {role: corpus_records(name, role, root) for role in ROLES}
        assert all(r.audio.is_relative_to(tmp_path / "root") for part in found.values() for r in part)
        assert {role: [(r.id, r.text) for r in part] for role, part in found.items()} == downloaded


def test_common_voice_by_hand_and_as_a_local_copy(tmp_path, cache):
    with pytest.raises(CorpusUnavailable, match=r"cannot be fetched.*datacollective.*corpora/common_voice holds train.tsv"):
        get_corpus("common_voice")
    rows = rows_of("common_voice")
    local("common_voice", tmp_path / "root", rows)
    first = cache / "common_voice"
    for id, *_ in rows:
        sound(first / f"cv-valid-dev/{id}.mp3")
    with open(first / "cv-valid-dev.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("filename", "text", "up_votes", "down_votes", "age", "gender", "accent", "duration"),
                                    *((f"cv-valid-dev/{i}.mp3", t, 1, 0, "", "", "", "") for i, _, t, _ in rows)])  # fmt: skip
    for role in ROLES:
        by_hand = corpus_records("common_voice", role)
        assert [(r.id, r.text) for r in by_hand] == [
            (r.id, r.text) for r in corpus_records("common_voice", role, tmp_path / "root")
        ]
        assert by_hand[0].audio.is_relative_to(first)
    assert {r.id for r in corpus_records("common_voice", "train")} == set(TRAIN["common_voice"])


def test_a_local_copy_without_dev_has_a_train(tmp_path):
    local("an4", tmp_path, rows_of("an4"))
    shutil.rmtree(tmp_path / "an4/dev")
    assert {r.id for r in corpus_records("an4", "train", tmp_path)} == {*TRAIN["an4"], "an7-fjmd-b"}  # its words are dev's


def test_bad_rows_of_a_local_copy_are_left_out_when_asked(tmp_path, capsys):
    local("speechocean762", tmp_path, rows_of("speechocean762"))
    for role in ("train", "test"):
        with open(tmp_path / f"speechocean762/{role}/metadata.csv", "a", encoding="utf-8") as file:
            file.write("gone.flac,HELLO,x\n")
    for role in ("train", "test"):
        with pytest.raises(ManifestError, match=rf"(?s){role} .*gone\.flac does not exist"):
            corpus_records("speechocean762", role, tmp_path)
        assert corpus_records("speechocean762", role, tmp_path, skip_bad=True)
        assert capsys.readouterr().out.count("left out 1 problem") == 1  # test's are told of when it is asked for


def test_whether_a_corpus_is_here_is_told_without_reading_it(tmp_path, cache, monkeypatch):
    assert not any(map(corpus_is_here, CORPORA))
    (tmp_path / "root/an4").mkdir(parents=True)
    assert corpus_is_here("an4", tmp_path / "root") and not corpus_is_here("an4")
    assert not corpus_is_here("speechocean762", tmp_path / "root")
    monkeypatch.setenv("ASKD_AUDIO_ROOT", str(tmp_path / "root"))
    assert corpus_is_here("an4")
    (cache / "mini_librispeech").mkdir(parents=True)
    assert corpus_is_here("mini_librispeech")
    with pytest.raises(UnknownName, match="did you mean 'an4'"):
        corpus_is_here("an3")
    with pytest.raises(AskdError, match=r"nowhere.*is not a folder"):
        corpus_is_here("an4", tmp_path / "nowhere")


def test_a_common_voice_release_put_there_by_hand_keeps_its_own_split(cache):
    for role in ROLES:
        table(cache / f"common_voice/{role}.tsv", ["client_id\tpath\tsentence", f"x{role}\ten_{role}.mp3\tHello {role}."])
        sound(cache / f"common_voice/clips/en_{role}.mp3")
    assert get_corpus("common_voice") == cache / "common_voice" and corpus_is_here("common_voice")
    assert [(r.id, r.speaker, r.text) for r in corpus_records("common_voice", "dev")] == [("en_dev", "xdev", "Hello dev.")]


def test_interrupted_download_goes_on_with_the_next_command(archives, cache):
    content = archives["an4"]
    with serving({"a.tar.gz": content}, cuts=[5_000, 0, 0, 0]) as web:
        corpus = served("an4", web, content)
        with pytest.raises(CorpusUnavailable, match="5000 bytes are kept"):
            get_corpus(corpus, progress=False, pause_s=0.001)
        assert not corpus.folder.exists()
        get_corpus(corpus, progress=False)
    assert web.asked[-1] == "bytes=5000-"
    assert corpus_records(corpus, "train")


def test_corrupted_archive_is_refused_with_both_digests_and_deleted(archives, cache):
    content = archives["an4"]
    wrong = content[:5000] + bytes([content[5000] ^ 1]) + content[5001:]
    with serving({"a.tar.gz": wrong}) as web, pytest.raises(CorpusUnavailable) as caught:
        get_corpus(served("an4", web, content), progress=False)
    assert all(hashlib.sha256(c).hexdigest() in str(caught.value) for c in (content, wrong))
    assert [p.name for p in cache.iterdir()] == [".an4.lock"]


def test_without_a_published_digest_the_first_download_sets_it(archives, cache):
    name, files = "speechocean762", {"a.tar.gz": archives["speechocean762"]}
    with serving(files) as web:
        corpus = served(name, web, b"")
        get_corpus(corpus, progress=False)
        shutil.rmtree(corpus.folder)
        get_corpus(corpus, progress=False)  # the same again is fine
        shutil.rmtree(corpus.folder)
        files["a.tar.gz"] += b"\0"
        with pytest.raises(CorpusUnavailable, match=r"sha256 is .* expected .*delete it when a new version"):
            get_corpus(corpus, progress=False)
        (cache / f"{name}.checksum").unlink()
        get_corpus(corpus, progress=False)


@pytest.mark.parametrize("content", [b"<html>please log in</html>", None], ids=["a web page", "cut in the middle"])
def test_what_is_no_whole_archive_is_named_and_deleted(archives, cache, content):
    content = content or archives["speechocean762"][: len(archives["speechocean762"]) // 2]
    with serving({"a.tar.gz": content}) as web, pytest.raises(CorpusUnavailable, match=r"a\.tar\.gz is damaged and deleted"):
        get_corpus(served("speechocean762", web, content), progress=False)
    assert [p.name for p in cache.iterdir()] == [".speechocean762.lock"]


@pytest.mark.parametrize("member", ["../../../evil.txt", "/{}/evil.txt"])
def test_members_that_point_outside_are_not_written_outside(tmp_path, cache, member):
    public("an4", tmp_path / "in", rows_of("an4")[:4])
    content = packed(tmp_path / "in", [(member.format(tmp_path), b"evil")])
    with serving({"a.tar.gz": content}) as web:
        if member.startswith(".."):
            with pytest.raises(CorpusUnavailable, match=r"refused and deleted.*evil"):
                get_corpus(served("an4", web, content), progress=False)
            assert not (cache / "an4").exists()
        else:  # the filter takes the leading slash away
            get_corpus(served("an4", web, content), progress=False)
    assert not list(tmp_path.rglob("evil.txt"))


def test_an_archive_of_something_else_is_named(tmp_path, cache):
    public("an4", tmp_path / "in", rows_of("an4")[:4])
    content = packed(tmp_path / "in")
    with serving({"a.tar.gz": content}) as web, pytest.raises(CorpusUnavailable, match="no folder LibriSpeech/train-clean-5"):
        get_corpus(served("mini_librispeech", web, content), progress=False)


def test_missing_file_goes_to_the_next_home(archives, cache):
    content = archives["an4"]
    with serving({"a.tar.gz": content}) as web:
        corpus = served("an4", web, content, urls=(web.url("moved.tar.gz"),))
        with pytest.raises(CorpusUnavailable, match=r"could not be fetched: .*moved\.tar\.gz: the server answers 404.*by hand"):
            get_corpus(corpus, progress=False)
        get_corpus(dataclasses.replace(corpus, urls=(*corpus.urls, web.url("a.tar.gz"))), progress=False)


def test_without_network_it_says_how_to_do_it_by_hand_and_that_works(archives, cache):
    content = archives["an4"]
    corpus = served("an4", f"http://127.0.0.1:{free_port()}/a.tar.gz", content)
    with pytest.raises(CorpusUnavailable, match=r"Connection refused.*by hand: download \S+ elsewhere, put the ") as caught:
        get_corpus(corpus, progress=False, pause_s=0.001)
    place = re.search(r"put the archive at (\S+),", str(caught.value))[1]
    with open(place, "wb") as file:
        file.write(b"not it")
    with pytest.raises(CorpusUnavailable, match=f"delete {place}"):
        get_corpus(corpus, progress=False, pause_s=0.001)
    with open(place, "wb") as file:
        file.write(content)
    get_corpus(corpus, progress=False)
    assert corpus_records(corpus, "train")


def test_too_little_space_is_said_before_anything_is_fetched(archives, cache):
    needs = pytest.raises(CorpusUnavailable, match=r"needs 3000000000 MB in .* MB are free")
    with serving({"a.tar.gz": archives["an4"]}) as web, needs:
        get_corpus(served("an4", web, b"", size_mb=10**9), progress=False)
    assert web.asked == []


def test_two_at_once_download_once_and_left_overs_are_cleared(archives, cache, tmp_path):
    content = archives["an4"]
    table(cache / ".an4.killed" / "an4" / "half", ["unpacked"])
    with serving({"a.tar.gz": content}) as web:
        corpus = served("an4", web, content)
        code = (
            "import dataclasses; from askd.corpora import CORPORA, get_corpus\n"
            f"print(get_corpus(dataclasses.replace(CORPORA['an4'], urls={corpus.urls!r}, checksum={corpus.checksum!r}), False))"
        )
        others = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
        threads = [threading.Thread(target=get_corpus, args=(corpus, False)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [p.communicate(timeout=60)[0].strip() for p in others] == [str(cache / "an4")] * 2
    assert len(web.asked) == 1
    assert {p.name for p in cache.iterdir()} == {"an4", ".an4.lock"}


def test_missing_listed_recordings_are_counted_and_another_release_is_refused(tmp_path, cache, capsys):
    rows = rows_of("an4")
    some = [row for row in rows if row[3] != "dev"][1:]
    public("an4", tmp_path / "in", some)
    content = packed(tmp_path / "in")
    with serving({"a.tar.gz": content}) as web:
        corpus = served("an4", web, content)
        get_corpus(corpus, progress=False)
    assert len(corpus_records(corpus, "test")) == 122
    assert "an4: 1 of 123 test recordings are missing" in capsys.readouterr().out
    with pytest.raises(ManifestError, match="none of the recordings listed for dev"):
        corpus_records(corpus, "dev")


def test_own_lists_can_be_given(archives, tmp_path):
    table(tmp_path / "mine.txt", ["# mine", "dev an10-fjmd-b", "test an101-mrcb-b"])
    with serving({"a.tar.gz": archives["an4"]}) as web:
        corpus = served("an4", web, archives["an4"], splits=tmp_path / "mine.txt")
        get_corpus(corpus, progress=False)
    assert [r.id for r in corpus_records(corpus, "dev")] == ["an10-fjmd-b"]
    assert not {r.speaker for r in corpus_records(corpus, "train")} & {"fjmd", "mrcb"}


def test_odd_lines_of_an4_are_counted(tmp_path, cache, capsys):
    public("an4", tmp_path / "in", rows_of("an4")[:4])
    with open(tmp_path / "in/an4/etc/an4_train.transcription", "a", encoding="utf-8") as file:
        file.write("<s> NO ID </s>\n\n<s> NOT LISTED </s> (an0-none-b)\n")
    content = packed(tmp_path / "in")
    with serving({"a.tar.gz": content}) as web:
        get_corpus(served("an4", web, content), progress=False)
    assert "left out 2 lines" in capsys.readouterr().err
    assert len((cache / "an4/text").read_text().splitlines()) == 4


def test_wrong_names_and_roots_are_named(tmp_path, cache):
    with pytest.raises(UnknownName, match="did you mean 'an4'"):
        corpus_records("an3", "test")
    with pytest.raises(UnknownName, match="unknown role 'valid'"):
        corpus_records("an4", "valid")
    with pytest.raises(AskdError, match=r"nowhere.*is not a folder"):
        corpus_records("an4", "test", tmp_path / "nowhere")
    (tmp_path / "root/an4").mkdir(parents=True)
    with pytest.raises(ManifestError, match=r"neither a folder test nor a table test\.tsv"):
        corpus_records("an4", "test", tmp_path / "root")
    with pytest.raises(CorpusUnavailable, match=r"askd data get mini_librispeech` \(332 MB\).*--audio-root"):
        corpus_records("mini_librispeech", "test", tmp_path / "root")  # a root without this corpus is passed over


@pytest.mark.parametrize("name", CORPORA)
def test_committed_lists_are_well_formed(name):
    ids = split_ids(CORPORA[name])
    pattern = {"mini_librispeech": r"\d+-\d+-\d{4}", "speechocean762": r"\d{9}", "an4": r"(an|cen)\d+-\w+-b",
               "common_voice": r"sample-\d{6}"}[name]  # fmt: skip
    assert (len(ids["dev"]), len(ids["test"])) == {
        "mini_librispeech": (60, 120), "speechocean762": (66, 120), "an4": (72, 123), "common_voice": (150, 320)
    }[name]  # fmt: skip
    assert not ids["dev"] & ids["test"]
    assert all(re.fullmatch(pattern, id) for id in ids["dev"] | ids["test"])
    if name != "common_voice":
        assert not {speaker_of(name, i) for i in ids["dev"]} & {speaker_of(name, i) for i in ids["test"]}


@pytest.mark.parametrize("name", CORPORA)
def test_every_corpus_says_what_it_is(name):
    corpus = CORPORA[name]
    assert corpus.name == name and corpus.layout in LAYOUTS
    assert all_domains()[name].corpus == name
    assert "--audio-root" in corpus.how_to_get and (f"askd data get {name}" in corpus.how_to_get) == bool(corpus.urls)


@pytest.mark.parametrize("checksum", ["5df7d4e78065366204ca6845bb08f490", "md5:123"])
def test_a_checksum_names_its_kind(checksum):
    with pytest.raises(AskdError, match="checksum must be"):
        Corpus("x", "csv", size_mb=1, checksum=checksum)


def test_a_run_with_a_corpus_trains_and_tests_on_it(tmp_path, monkeypatch, capsys):
    """Profile `real` in small: one corpus is there, one is not."""
    monkeypatch.setenv("ASKD_CACHE", str(tmp_path / "cache"))
    local("an4", tmp_path / "corpora", rows_of("an4"))
    monkeypatch.setenv("ASKD_AUDIO_ROOT", str(tmp_path / "corpora"))
    monkeypatch.setattr("askd.runs.domain_names", lambda source: [])  # its real speech alone
    run = Run(tmp_path / "run")
    run.start(corpora=["an4", "speechocean762"], corpus_train_clips=2, dev_clips=3, real_clips=5)
    assert [len(run.clips(role)) for role in ("train", "dev", "test")] == [2, 3, 5]
    assert {clip.domain for clip in run.clips("test")} == {"an4"} and run.clips("test")[0].text.endswith(".")  # sentence case
    assert "left out: speechocean762" in capsys.readouterr().out
    run.start(corpora=["speechocean762"])
    with pytest.raises(RunError, match="none of the public corpora"):
        run.clips("train")
    monkeypatch.setattr("askd.packages.recordings", lambda name: corpus_records("an4", "test"))
    for role in ("train", "test"):  # Debian's recordings in the street do not stand in for them
        run.start(corpora=["speechocean762", "common_voice_noise", "asterisk_street"])
        with pytest.raises(RunError, match="none of the public corpora"):
            run.clips(role)
    with pytest.raises(AskdError, match="asterisk_8khz is neither a public corpus"):
        run.start(corpora=["asterisk_8khz"])
