"""Four public corpora of real speech: where they live, how they come here, and how they are split.

    askd data get mini_librispeech     # download, check, unpack; goes on where it was interrupted

A corpus is taken from ``AUDIO_ROOT/NAME/{train,dev,test}`` when there is such a folder (``--audio-root`` or
``$ASKD_AUDIO_ROOT``), else from ``cache_dir()/corpora/NAME``, where `get_corpus` unpacks it. Downloaded corpora are split by
the ids in ``data/splits/NAME.txt``: dev and test are what these name, train is every other utterance whose speaker is in
neither. However a corpus came, its train is without the recordings whose words are said in dev or test as well.
"""

import contextlib
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from askd.download import DownloadError, download, unpack
from askd.errors import AskdError, ManifestError, UnknownName, pick
from askd.files import cache_dir, data_dir, sha256
from askd.folders import Listing, read_folder, usable_records
from askd.records import Record

ROLES = ("train", "dev", "test")
ADULT_AGE = 18  # ours
UNPACKED = 2  # disk space for the unpacked files, as a multiple of the archive; sphere files need 1.6 (ours)


class CorpusUnavailable(AskdError):
    """The corpus is not on this machine, or could not be fetched; the message says how to get it."""


@dataclass(frozen=True)
class Corpus:
    """Where a public corpus is to be had. What it is, its licence and citation stand in ``data/domains.yaml``.

    Raises:
        AskdError: a field that does not fit, named.
    """

    name: str
    layout: str  # of askd.folders
    size_mb: int  # of the archive
    urls: tuple[str, ...] = ()  # tried in turn; none: it has to be fetched by hand
    checksum: str = ""  # "md5:..." or "sha256:..."; empty: that of the first download is kept and checked later
    inside: str = "."  # the folder of the archive that matters
    part: str = ""  # the sub-folder, or the table, that is used
    convert: Callable[[Path], None] | None = None  # turns the unpacked folder into ``layout``
    by_hand: str = ""  # how to get it where there are no urls
    splits: Path | None = None  # lists of ids; default data/splits/NAME.txt

    def __post_init__(self):
        if not re.fullmatch(r"|md5:[0-9a-f]{32}|sha256:[0-9a-f]{64}", self.checksum):
            raise AskdError(f"corpus {self.name}: checksum must be md5:HEX or sha256:HEX, not {self.checksum!r}")

    @property
    def folder(self) -> Path:
        """Where it lies once it is downloaded."""
        return cache_dir() / "corpora" / self.name

    @property
    def archive(self) -> Path:
        """Where its archive is put while it comes, or by hand."""
        return self.folder.with_name(self.urls[0].rpartition("/")[2])

    @property
    def how_to_get(self) -> str:
        """Three ways to it, for messages."""
        own = f"`--audio-root FOLDER` with {self.name}/train, dev and test in it"
        if not self.urls:
            return f"It cannot be fetched by a command. {self.by_hand.format(folder=self.folder)} Or: {own}"
        return (
            f"Get it with `askd data get {self.name}` ({self.size_mb} MB); or {own}; or by hand: download {self.urls[0]} "
            f"elsewhere, put the archive at {self.archive}, then `askd data get {self.name}`"
        )


def _an4_to_kaldi(folder: Path) -> None:
    """Write wav.scp, text and utt2spk from AN4's own lists: ``<s> WORDS </s> (ID)`` and ``wav/PART/SPEAKER/ID.sph``."""
    rows, odd = {}, []
    for part in ("train", "test"):
        paths = (folder / "etc" / f"an4_{part}.fileids").read_text(encoding="utf-8").split()
        path_of = {path.rpartition("/")[2]: path for path in paths}  # ID -> PART/SPEAKER/ID
        for line in (folder / "etc" / f"an4_{part}.transcription").read_text(encoding="utf-8").splitlines():
            match = re.fullmatch(r"(?:<s>)?\s*(.*?)\s*(?:</s>)?\s*\((\S+)\)", line.strip())
            if match and match[2] in path_of:
                path = path_of[match[2]]
                rows[match[2]] = (match[1], f"wav/{path}.sph", path.split("/")[-2])
            elif line.strip():
                odd.append(line.strip())
    if not rows:
        raise ManifestError(f"{folder / 'etc'}: no transcript of AN4's form `<s> WORDS </s> (ID)`")
    if odd:
        print(f"an4: left out {len(odd)} lines of its transcriptions: {'; '.join(odd[:5])}", file=sys.stderr)
    for table, column in (("text", 0), ("wav.scp", 1), ("utt2spk", 2)):
        (folder / table).write_text("".join(f"{id} {rows[id][column]}\n" for id in sorted(rows)), encoding="utf-8")


_OPENSLR = ("https://www.openslr.org/resources", "https://openslr.trmal.net/resources", "https://openslr.elda.org/resources")

CORPORA: dict[str, Corpus] = {
    corpus.name: corpus
    for corpus in (
        Corpus(
            "mini_librispeech", "librispeech", size_mb=332, urls=tuple(f"{root}/31/train-clean-5.tar.gz" for root in _OPENSLR),
            checksum="md5:5df7d4e78065366204ca6845bb08f490", inside="LibriSpeech/train-clean-5",
        ),
        Corpus(
            "speechocean762", "kaldi", size_mb=520, urls=tuple(f"{root}/101/speechocean762.tar.gz" for root in _OPENSLR),
            inside="speechocean762", part="train",
        ),
        Corpus(
            "an4", "kaldi", size_mb=64, inside="an4", convert=_an4_to_kaldi,
            urls=(
                "https://dldata-public.s3.us-east-2.amazonaws.com/an4_sphere.tar.gz",
                "http://www.speech.cs.cmu.edu/databases/an4/an4_sphere.tar.gz",
            ),
            checksum="sha256:a0525579493735d32b60fb6fa5975dd0eaacde087b0a4eeb7f13b7ef33077b12",
        ),
        Corpus(
            "common_voice", "common_voice", size_mb=0, part="cv-valid-dev.csv",
            by_hand="Log in at https://datacollective.mozillafoundation.org, download an English scripted-speech release of "
            "Common Voice and unpack it so that {folder} holds train.tsv, dev.tsv, test.tsv and clips/. Figures compare with "
            "ours only for cv-valid-dev of the first release (2017): put cv-valid-dev.csv and cv-valid-dev/ there instead.",
        ),
    )
}


def get_corpus(corpus: str | Corpus, progress: bool = True, pause_s: float = 1.0) -> Path:
    """The folder of a corpus: downloaded, checked and unpacked when it is not there. A second process waits for the first.

    Args:
        corpus: a name in `CORPORA`, or a corpus of your own.
        progress: a bar with speed and time left.
        pause_s: as in `askd.download.download`.

    Raises:
        CorpusUnavailable: no network, no space, a wrong checksum, or a corpus that has to be fetched by hand.
    """
    corpus = pick("corpus", corpus, CORPORA) if isinstance(corpus, str) else corpus
    if corpus.folder.is_dir():
        return corpus.folder
    if not corpus.urls:
        raise CorpusUnavailable(f"{corpus.name} is not in {corpus.folder}. {corpus.how_to_get}")
    with _only_one(corpus.folder):
        if not corpus.folder.is_dir():  # another process may just have brought it
            _need_space(corpus)
            _fetch(corpus, progress, pause_s)
    return corpus.folder


@contextlib.contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Hold the lock beside ``folder``, and clear away what a process killed while unpacking has left."""
    from filelock import FileLock, Timeout

    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.with_name(f".{folder.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"{folder.name}: another process is getting it, waiting", file=sys.stderr)
        lock.acquire()
    try:
        for left_over in folder.parent.glob(f".{folder.name}.*/"):
            shutil.rmtree(left_over, ignore_errors=True)
        yield
    finally:
        lock.release()


def _need_space(corpus: Corpus) -> None:
    home, name = corpus.folder.parent, corpus.archive.name
    here = sum(path.stat().st_size for path in (home / name, home / f"{name}.part") if path.is_file())
    need_mb, free_mb = corpus.size_mb * (1 + UNPACKED) - here / 1e6, shutil.disk_usage(home).free / 1e6
    if free_mb < need_mb:
        raise CorpusUnavailable(
            f"{corpus.name} needs {need_mb:.0f} MB in {home}, {free_mb:.0f} MB are free: make space, or set ASKD_CACHE"
        )


def _fetch(corpus: Corpus, progress: bool, pause_s: float) -> None:
    first = corpus.folder.with_name(f"{corpus.name}.checksum")  # of the first download, where the home publishes none
    kind, _, digest = (corpus.checksum or (first.read_text() if first.is_file() else "")).strip().partition(":")
    failures = []
    for url in corpus.urls:
        try:
            download(url, corpus.archive, **({kind: digest} if kind else {}), progress=progress, tries=4, pause_s=pause_s)
            break
        except DownloadError as error:
            failures.append(str(error))
    else:
        if kind and not corpus.checksum:
            failures.append(f"{first} is of the first download; delete it when a new version is what you want")
        raise CorpusUnavailable(f"{corpus.name} could not be fetched: {'; '.join(dict.fromkeys(failures))}. {corpus.how_to_get}")
    try:
        unpack(corpus.archive, corpus.folder, corpus.inside, corpus.convert)
    except DownloadError as error:
        raise CorpusUnavailable(f"{corpus.name}: {error}. {corpus.how_to_get}") from None
    if not kind:
        first.write_text(f"sha256:{sha256(corpus.archive)}\n", encoding="utf-8")
    corpus.archive.unlink()


def corpus_is_here(name: str, audio_root: Path | str | None = None) -> bool:
    """Whether `corpus_records` would find the corpus; nothing is read. Arguments and errors as there."""
    corpus = pick("corpus", name, CORPORA)
    return _ready_split(corpus, audio_root) is not None or (corpus.folder / corpus.part).exists()


def corpus_records(corpus: str | Corpus, role: str, audio_root: Path | str | None = None, skip_bad: bool = False) -> list[Record]:
    """The recordings of a role, ordered by id; ids are the corpus's own, whichever way it came here.

    Train holds none whose words (lower-case letters and digits) are said in dev or test: AN4's speakers share commands.

    Args:
        corpus: a name in `CORPORA`, or a corpus of your own.
        role: train, dev or test.
        audio_root: folder with local copies of corpora; default ``$ASKD_AUDIO_ROOT``. One that lacks this corpus is passed over.
        skip_bad: leave out rows that cannot be used, and say so. Downloaded corpora are always read so.

    Raises:
        CorpusUnavailable: it is nowhere; the message says how to get it.
        ManifestError: no such part, or rows that cannot be used.
        AskdError: no such corpus or role; ``audio_root`` is not a folder.
    """
    corpus = pick("corpus", corpus, CORPORA) if isinstance(corpus, str) else corpus
    if role not in ROLES:
        raise UnknownName("role", role, ROLES)
    if folder := _ready_split(corpus, audio_root):
        records = usable_records(_read_part(folder, role), skip_bad)
        held_out = [part for part in ("dev", "test") if role == "train" and _has_part(folder, part)]
        tested = {_words(r) for part in held_out for r in _read_part(folder, part).records}
    else:
        parts = _split(corpus, role)
        records = parts.pop(role)
        tested = {_words(r) for part in parts.values() for r in part}
    if role == "train":
        records = [r for r in records if _words(r) not in tested]
    return sorted((replace(r, id=_own_id(r.id)) for r in records), key=lambda r: r.id)


def _words(record: Record) -> str:
    return "".join(filter(str.isalnum, record.text.lower()))


def _own_id(id: str) -> str:
    """``cv-valid-dev/sample-000007.mp3`` and, in copies that keep its origin, ``dev_sample-000007.flac`` -> sample-000007."""
    return re.sub(r"^dev_(?=sample-)", "", Path(id).stem)


def _ready_split(corpus: Corpus, audio_root: Path | str | None) -> Path | None:
    """The folder of a copy that is split already: below the audio root, or a release put into the cache by hand."""
    root = audio_root or os.environ.get("ASKD_AUDIO_ROOT")
    if root and not Path(root).is_dir():
        raise AskdError(f"{root} (--audio-root or ASKD_AUDIO_ROOT) is not a folder")
    if root and (Path(root) / corpus.name).is_dir():
        return Path(root) / corpus.name
    return corpus.folder if any((corpus.folder / f"{role}.tsv").is_file() for role in ROLES) else None


def _has_part(folder: Path, role: str) -> bool:
    return (folder / role).is_dir() or (folder / f"{role}.tsv").is_file()


def _read_part(folder: Path, role: str) -> Listing:
    if not _has_part(folder, role):
        raise ManifestError(f"{folder} has neither a folder {role} nor a table {role}.tsv")
    start = folder if (folder / role / "wav.scp").is_file() else None  # Kaldi folders of a corpus share its audio
    return read_folder(folder, part=role, audio_root=start)


def split_ids(corpus: Corpus) -> dict[str, frozenset[str]]:
    """The listed ids of ``dev`` and ``test``; lines of the list are ``dev ID``, ``test ID`` or a comment."""
    path = corpus.splits or data_dir() / "splits" / f"{corpus.name}.txt"
    lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return {role: frozenset(id for part, id in lines if part == role) for role in ("dev", "test")}


def _split(corpus: Corpus, role: str) -> dict[str, list[Record]]:
    """All parts of a downloaded corpus; complains of what is missing in ``role``."""
    source = corpus.folder / corpus.part
    if not source.exists():
        raise CorpusUnavailable(f"{corpus.name} is not on this machine. {corpus.how_to_get}")
    start = corpus.folder if (source / "wav.scp").is_file() else None
    records = usable_records(read_folder(source, None if source.is_file() else corpus.layout, audio_root=start), skip_bad=True)
    listed = split_ids(corpus)
    parts = {name: [r for r in records if _own_id(r.id) in ids] for name, ids in listed.items()}
    if role in parts and (missing := len(listed[role]) - len(parts[role])):
        if not parts[role]:
            raise ManifestError(f"{source} has none of the recordings listed for {role}: another release of {corpus.name}?")
        print(f"{corpus.name}: {missing} of {len(listed[role])} {role} recordings are missing: figures will not compare")
    taken = {record.speaker for part in parts.values() for record in part}
    ages = source / "spk2age"
    young = {s for s, age in map(str.split, ages.read_text().splitlines()) if int(age) < ADULT_AGE} if ages.is_file() else ()
    return {**parts, "train": [r for r in records if r.speaker not in taken and r.speaker not in young]}
