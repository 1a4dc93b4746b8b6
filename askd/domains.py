"""Domains: named sets of speech, from four sources through one door. All speech of the project comes through `load_clips`.

    synthetic   sentences x voices x channels                     askd/synthesis.py
    package     real recordings inside Debian packages            askd/packages.py
    folder      a public corpus, or a folder of your own          askd/corpora.py, askd/folders.py
    hub         a data set of the Hugging Face Hub, or its copy   askd/hub.py

Most are declared in ``data/domains.yaml``. Two kinds need no declaration: ``hub:ID`` (or a preset of
``data/hub_presets.yaml``) and the path of a folder:

    askd.load_clips("formant_telephone", "test", 40)
    askd.load_clips("recordings/", "all")
    askd.load_clips("hub:librispeech_other", "test", 200)

    askd data list | get | show | check
"""

import functools
import itertools
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from askd import packages, synthesis
from askd.audio import MAX_AUDIO_S, SAMPLING_RATE_HZ
from askd.channels import get_channel
from askd.clips import Clip, make_clip
from askd.errors import AskdError, UnknownName, pick
from askd.files import data_dir
from askd.recordings import of_role, record_clip, usable_clips
from askd.records import Record
from askd.sentences import SPLITS

SOURCES = ("synthetic", "package", "folder", "hub")
SPLIT_NAMES = ("in_domain", "out_of_domain")
PARTS = {"train": ("train",), "dev": ("dev", "validation", "valid"), "test": ("test",)}  # how a folder's own split is called


@dataclass(frozen=True)
class Domain:
    """One entry of ``data/domains.yaml``, checked when it is made.

    Raises:
        AskdError: a field that does not fit, named.
    """

    name: str
    split: str  # in_domain: trained on, with dev and test clips of its own; out_of_domain: tests alone
    source: str  # one of SOURCES
    about: str
    language: str = "en"
    speaker: str = "voice"  # what tells its speakers apart
    licence: str = ""
    citation: str = ""
    voices: tuple[str, ...] = ()  # synthetic: spoken in turn
    talkers: tuple[str, ...] = ()  # synthetic: voices that may be heard behind the speaker
    channel: str = ""  # a name in askd.channels; of recordings: what they are heard through
    topics: tuple[str, ...] = ()  # synthetic: files in data/sentences
    lane: int = 0  # synthetic and in_domain: its turn in the numbering of training texts,
    lanes: int = 1  # which it shares with so many domains
    corpus: str = ""  # folder: a name in askd.corpora
    path: str = ""  # folder: your own
    layout: str = ""  # folder: a name in askd.folders; empty looks for itself
    hub: str = ""  # hub: what follows "hub:"
    casing: str = "as_is"  # as_is | sentence, for corpora in capitals or without punctuation
    own_roles: tuple[str, ...] = ()  # of an undeclared folder or data set: what it has

    def __post_init__(self):
        for field, value, known in (
            ("split", self.split, SPLIT_NAMES), ("source", self.source, SOURCES), ("casing", self.casing, ("as_is", "sentence")),
        ):
            if value not in known:
                raise AskdError(f"domain {self.name}: {field} must be one of {', '.join(known)}, not {value!r}")
        if self.real and self.channel:
            get_channel(self.channel)
            if self.channel in synthesis.WITH_TALKERS:
                raise AskdError(f"domain {self.name}: channel {self.channel} needs other talkers, which recordings have not")
        needed = {"synthetic": self.voices, "folder": self.corpus or self.path, "hub": self.hub, "package": True}
        if not needed[self.source]:
            raise AskdError(f"domain {self.name}: source {self.source} needs voices, a corpus or path, or hub")

    @property
    def roles(self) -> tuple[str, ...]:
        """In-domain: train, dev, test. Out-of-domain: test alone. An undeclared folder or data set: what it has."""
        return self.own_roles or (tuple(SPLITS) if self.split == "in_domain" else ("test",))

    @property
    def scored_role(self) -> str:
        """What is scored when nobody says: the test clips, or all of a folder or data set that has no split."""
        return "test" if "test" in self.roles and not (self.path and not own_parts(self.path)) else "all"

    @property
    def real(self) -> bool:
        """Whether people speak in it."""
        return self.source != "synthetic"

    def to_dataset(self, role: str, clips: int | None = None, seed: int = 0):
        """The clips as a `datasets.Dataset`: audio (not decoded), text, speaker, duration_s; ready for ``push_to_hub``."""
        from askd.hub import clips_to_dataset

        return clips_to_dataset(load_clips(self, role, clips, seed))


@functools.cache
def all_domains() -> dict[str, Domain]:
    """Every declared domain, by name, in the order of the file."""
    import yaml

    declared = yaml.safe_load((data_dir() / "domains.yaml").read_text(encoding="utf-8"))
    domains, lane = {}, itertools.count()
    lanes = sum(e["source"] == "synthetic" and e["split"] == "in_domain" for e in declared["domains"].values())
    for name, entry in declared["domains"].items():
        if entry["source"] == "synthetic":
            entry = {"topics": declared["topics"]["trained"], "talkers": declared["talkers"], **declared["synthetic"], **entry}
            if entry["split"] == "in_domain":
                entry |= {"lane": next(lane), "lanes": lanes}
        if unknown := set(entry) - set(Domain.__dataclass_fields__):
            raise UnknownName(f"field of domain {name}", ", ".join(unknown), Domain.__dataclass_fields__)
        entry = {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}
        if isinstance(voices := entry.get("voices"), str):
            entry["voices"] = tuple(pick("group of voices", voices, declared["voices"]))
        domains[name] = Domain(name, **entry)
        if domains[name].source == "synthetic":
            synthesis.check_recipe(domains[name], declared["topics"]["trained"])
    return domains


def get_domain(name: str | Path) -> Domain:
    """A declared domain by name, ``hub:ID``, or the path of a folder (or of a CSV, TSV or JSONL file).

    Raises:
        UnknownName: none of these; the message lists what exists.
    """
    name = str(name)
    if name in all_domains():
        return all_domains()[name]
    if name.startswith("hub:"):
        from askd.hubsource import parse_hub

        source = parse_hub(name)
        short = name.removeprefix("hub:").replace(source.id, Path(source.path).name, 1) if source.local else name[4:]
        short = "hub-" + "".join(c if c.isalnum() else "-" for c in short)[:60]
        return Domain(
            short, "out_of_domain", "hub", source.about or source.id, source.language, source.speaker or "unknown",
            source.licence, source.citation, hub=name, own_roles=source.roles,
        )
    if Path(name).exists():
        path = Path(name).resolve()
        short = path.stem if path.is_file() else path.name
        if path.name == "labels.jsonl":  # of `askd pseudolabel`, which calls all of them so
            short = path.parent.name
        if short in (*all_domains(), *itertools.chain(*PARTS.values())):  # not to be taken for a declared one, or for its role
            short = f"{path.parent.name}-{short}"
        parts = tuple(own_parts(path)) or tuple(SPLITS)
        return Domain(short, "out_of_domain", "folder", "your own recordings", speaker="as in its metadata", path=str(path),
                      own_roles=(*parts, "all"))
    raise UnknownName("domain", name, [*all_domains(), "hub:ID", "the path of a folder"])


def own_parts(path: Path | str) -> dict[str, Path]:
    """The split that a folder brings: its sub-folders or tables called train, dev (or validation), test."""
    found = {}
    for role, names in PARTS.items():
        there = [p for name in names for p in (Path(path) / name, Path(path) / f"{name}.tsv") if p.exists()]
        found |= {role: there[0]} if there else {}
    return found


def domain_names(split: str | None = None, source: str | Sequence[str] | None = None) -> list[str]:
    """Names of declared domains by split (``in_domain``, ``out_of_domain``) and source (one, or several)."""
    sources = SOURCES if source is None else (source,) if isinstance(source, str) else source
    return [d.name for d in all_domains().values() if split in (None, d.split) and d.source in sources]


def load_clips(
    name: str | Path | Domain, role: str, clips: int | None = None, seed: int = 0, workers: int | None = None,
    progress: bool = False, audio_root: Path | str | None = None, skip_bad: bool = False, layout: str | None = None,
    casing: str | None = None, max_audio_s: float | None = MAX_AUDIO_S,
) -> list[Clip]:
    """Clips of a domain and role: made, fetched or found, and cached.

    Args:
        name: as in `get_domain`, or a domain.
        role: ``train``, ``dev`` or ``test``; for a folder of your own also ``all``.
        clips: how many; None gives all there are (synthetic speech has no end and needs a number). Of real recordings a
            drawn choice is given, and fewer when there are fewer; of a Hub data set the first ones.
        seed: of texts, voices, channels and the choice.
        workers: processes for synthesis; default the number of cores. The clips do not depend on it.
        progress: show a bar with ETA.
        audio_root: folder with local copies of the public corpora; default ``$ASKD_AUDIO_ROOT``, then what was downloaded.
        skip_bad: leave out recordings that cannot be read or have no transcript, and say how many; everything is decoded.
        layout: of a folder, where several fit.
        casing: ``sentence`` turns transcripts in capitals (or all lower case) into sentences; default as declared.
        max_audio_s: longest recording of a Hub data set, and with ``skip_bad`` of any source; None: any length. Without it a file
            of a folder is refused when it is read. Default 30 s, what Whisper hears.

    Raises:
        UnknownName: no such domain.
        AskdError: the domain has no such role; no number of clips where one is needed.
        ManifestError, AudioError: a row or a recording that cannot be used; all of them, or the first, are named.
        PackageUnavailable, CorpusUnavailable: not to be had on this machine; the message says how to get it.
    """
    domain = name if isinstance(name, Domain) else get_domain(name)
    changes = {"layout": layout, "casing": casing}
    domain = replace(domain, **{field: value for field, value in changes.items() if value})
    _check_role(domain, role)
    if clips is not None and clips < 1:
        raise AskdError(f"clips must be at least 1, not {clips}")
    if domain.source == "synthetic":
        if clips is None:
            raise AskdError(f"domain {domain.name!r} is synthetic and never ends: say how many clips")
        return synthesis.synthesise([(domain, role, i, seed) for i in range(clips)], workers, progress)
    if domain.source == "hub":
        from askd.hub import hub_records
        from askd.hubsource import parse_hub

        source = parse_hub(domain.hub)
        source, total = replace(source, casing=casing or source.casing), clips
        records = hub_records(source, role, limit=clips, seed=seed, skip_bad=skip_bad)
    else:
        records = _drawn(_records(domain, role, audio_root, skip_bad), clips, seed, domain.name)
        total = len(records)
        if not records:
            raise AskdError(f"{domain.name}: nothing falls to {role!r}: give it sub-folders train, dev and test, or use 'all'")
    make = functools.partial(_clip, domain, max_audio_s=max_audio_s)
    return usable_clips(records, make, skip_bad, domain.name, progress, total, max_audio_s)


def _check_role(domain: Domain, role: str) -> None:
    if role not in domain.roles:
        raise AskdError(f"domain {domain.name!r} is {domain.split} and has no {role!r} clips, only {', '.join(domain.roles)}")


def _records(domain: Domain, role: str, audio_root: Path | str | None, skip_bad: bool) -> list[Record]:
    if domain.source == "package":
        return packages.recordings(domain.name)
    if domain.corpus:
        from askd.corpora import corpus_records

        return corpus_records(domain.corpus, role, audio_root, skip_bad)
    from askd.folders import read_folder, usable_records

    parts = own_parts(domain.path)
    found = usable_records(read_folder(parts.get(role, domain.path), domain.layout or None), skip_bad)
    return found if role in parts or role == "all" else of_role(found, role)


def _drawn(found: Sequence[Record], clips: int | None, seed: int, name: str) -> list[Record]:
    order = np.random.default_rng([seed, zlib.crc32(name.encode())]).permutation(len(found))[:clips]
    return [found[i] for i in sorted(order)]


def _clip(domain: Domain, record: Record, max_audio_s: float | None) -> Clip:
    """The clip of a record, its text in sentence case where the domain says so, heard through the domain's channel."""
    if domain.casing == "sentence":
        from askd.folders import sentence_case

        record = replace(record, text=sentence_case(record.text))
    clip = record_clip(domain.name, record, max_audio_s)
    return _heard(domain, clip) if domain.channel else clip


def _heard(domain: Domain, clip: Clip) -> Clip:
    """The clip through the domain's channel, kept in the cache; what is drawn depends on domain and recording alone."""
    key = {"sha256": clip.sha256, "channel": domain.channel, "version": synthesis.RECIPE_VERSION,
           "engines": synthesis.engine_versions(), "about": (clip.id, clip.speaker, clip.text)}

    def make() -> np.ndarray:
        rng = np.random.default_rng([zlib.crc32(domain.name.encode()), int(clip.sha256[:15], 16)])
        return get_channel(domain.channel)(clip.samples(), rng, _nobody)[: int(MAX_AUDIO_S * SAMPLING_RATE_HZ)]

    return make_clip(domain.name, key, clip.id, clip.speaker, clip.text, make)


def _nobody(rng: np.random.Generator) -> np.ndarray:
    raise AssertionError("channels with other talkers are refused for recordings")
