"""Which data set of the Hugging Face Hub, and which of its columns mean what. `askd.hub` reads it.

    parse_hub("hub:librispeech_clean")                                       a preset of data/hub_presets.yaml
    parse_hub("hub:openslr/librispeech_asr?config=clean&split=train.360")    options are the fields of `HubSource`
    parse_hub("hub:./copies/my_corpus?text=sentence&speaker=client_id")      a folder: Hub layout or save_to_disk

A source has the roles train, dev and test, less those that are ``none`` (``dev=none``: there is no such split); with
``split=NAME`` it has ``all`` alone, so that one split never serves both for training and for the test.
"""

import dataclasses
import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from urllib.parse import parse_qsl

from askd.errors import AskdError, UnknownName
from askd.files import data_dir

ROLE_SPLITS = {"train": ("train",), "dev": ("validation", "dev", "valid"), "test": ("test", "eval")}  # usual names, in turn
NO_SPLIT = "none"
CASINGS = ("as_is", "sentence")


@dataclass(frozen=True)
class HubSource:
    """Where a data set lies and which of its columns mean what.

    Raises:
        AskdError: a field that does not fit, named.
    """

    id: str  # owner/name on the Hub, or a local folder
    name: str = ""  # of the preset
    config: str | None = None
    split: str | None = None  # this one alone, and its role is "all"
    train: str | None = None  # the split of each role; None: the usual names; "none": it has no such split
    dev: str | None = None
    test: str | None = None
    audio: str = "audio"  # columns
    text: str = "text"
    speaker: str | None = None  # None: each recording has a speaker of its own
    id_column: str | None = None  # None: split and row
    replace: Mapping[str, str] = field(default_factory=dict, hash=False)  # in transcripts, in this order
    drop: tuple[str, ...] = ()  # transcripts of rows in which nobody speaks: left out
    casing: str = "as_is"  # or "sentence", for transcripts in capitals or in lower case (`askd.folders.sentence_case`)
    shuffle: int = 0  # rows of the window that recordings are drawn from; 0 keeps the order (ours)
    streaming: bool = True
    revision: str | None = None
    gated: bool = False
    licence: str = ""
    citation: str = ""
    language: str = "en"
    about: str = ""
    note: str = ""  # what to know before use
    gone: str = ""  # why the Hub has it no more, and what to do instead

    def __post_init__(self):
        for name in ("streaming", "gated"):
            if not isinstance(getattr(self, name), bool):
                raise AskdError(f"hub source {self.id!r}: {name} must be true or false, not {getattr(self, name)!r}")
        for name in ("audio", "text"):
            if not getattr(self, name):
                raise AskdError(f"hub source {self.id!r}: {name} must name a column")
        if self.casing not in CASINGS:
            raise AskdError(f"hub source {self.id!r}: casing must be one of {', '.join(CASINGS)}, not {self.casing!r}")
        if type(self.shuffle) is not int or self.shuffle < 0:
            raise AskdError(f"hub source {self.id!r}: shuffle must be a number of rows, 0 or more, not {self.shuffle!r}")
        if not isinstance(self.replace, Mapping) or not all(
            old and isinstance(old, str) and isinstance(new, str) for old, new in self.replace.items()
        ):
            raise AskdError(f"hub source {self.id!r}: replace must map texts to texts, not {self.replace!r}")
        if not isinstance(self.drop, list | tuple) or not all(isinstance(text, str) for text in self.drop):
            raise AskdError(f"hub source {self.id!r}: drop must be a list of transcripts, not {self.drop!r}")
        object.__setattr__(self, "drop", tuple(self.drop))
        if not self.roles:
            raise AskdError(f"hub source {self.id!r}: train, dev and test are all {NO_SPLIT!r}, which leaves nothing")
        if not self.local and not re.fullmatch(r"\w[\w.-]*/[\w.-]+", self.id):
            raise AskdError(f"hub source {self.id!r} is neither a folder of this machine nor owner/name of the Hub")

    @property
    def local(self) -> bool:
        """Whether it is a folder of this machine."""
        return bool(self.id) and Path(self.id).expanduser().is_dir()

    @property
    def path(self) -> str:
        """What `datasets` is given."""
        return str(Path(self.id).expanduser().resolve()) if self.local else self.id

    @property
    def label(self) -> str:
        """What messages call it: ``hub:PRESET``, ``hub:owner/name`` or ``hub:FOLDER``."""
        return f"hub:{self.name or self.id}"

    @property
    def roles(self) -> tuple[str, ...]:
        """What may be asked for: those of train, dev and test that are not ``none``; with ``split`` set, ``all`` alone."""
        return ("all",) if self.split else tuple(role for role in ROLE_SPLITS if getattr(self, role) != NO_SPLIT)

    def splits(self, role: str) -> tuple[str, ...]:
        """Names to be tried in turn for the split of a role; any other word names a split itself.

        Raises:
            AskdError: the source has no such role.
        """
        if role not in ROLE_SPLITS:
            return (self.split,) if self.split and role == "all" else (role,)
        if self.split:
            raise AskdError(f"{self.label} with split={self.split} is one split and has no {role}: say train=..., dev=..., "
                            "test=... instead of split=...")
        if role not in self.roles:
            raise AskdError(f"{self.label} has no {role} split, only {', '.join(self.roles)}")
        named = getattr(self, role)
        return (named,) if named else ROLE_SPLITS[role]

    def where(self, split: str, row: int) -> str:
        """What messages call a recording: ``hub:fleurs, split test, row 17``."""
        return f"{self.label}, split {split}, row {row}"

    def transcript(self, text: str) -> str | None:
        """A row's text after `replace` (blanks before punctuation go), `drop` and `casing`; None when it is dropped."""
        text = text.strip()
        if text in self.drop:
            return None
        for old, new in self.replace.items():
            text = text.replace(old, new)
        if self.replace:
            text = re.sub(r"\s+([,.;:?!]+)(?=\s|$)", r"\1", " ".join(text.split()))
        if text in self.drop:
            return None
        if self.casing == "sentence":
            from askd.folders import sentence_case

            return sentence_case(text)
        return text


@functools.cache
def presets() -> dict[str, HubSource]:
    """The well-known data sets of ``data/hub_presets.yaml``, by name."""
    import yaml

    declared = yaml.safe_load((data_dir() / "hub_presets.yaml").read_text(encoding="utf-8"))
    sources = {name: _source(f"preset {name}", entry.pop("id"), entry) for name, entry in declared.items()}
    return {name: dataclasses.replace(source, name=name) for name, source in sources.items()}


def parse_hub(text: str) -> HubSource:
    """``hub:PRESET``, ``hub:owner/name`` or ``hub:FOLDER``, with options after ``?`` (the prefix may be left out).

    Raises:
        UnknownName: no such preset or option; the message lists what exists.
        AskdError: an option that does not fit, or that only a preset can have (replace, drop).
    """
    name, _, query = text.removeprefix("hub:").partition("?")
    options = {key: value or None for key, value in parse_qsl(query, keep_blank_values=True)}
    for key in {"streaming", "gated"} & options.keys():
        options[key] = {"true": True, "1": True, "false": False, "0": False}.get(str(options[key]).lower(), options[key])
    if str(options.get("shuffle")).isdecimal():
        options["shuffle"] = int(options["shuffle"])
    if {"replace", "drop"} & options.keys():
        raise AskdError(f"{text}: replace and drop are no options; write a preset with them in data/hub_presets.yaml")
    if name not in presets() and (not name or ("/" not in name and not Path(name).is_dir())):
        raise UnknownName("hub preset (others are owner/name or a folder)", name, presets())
    return _source(text, name, options, presets().get(name))


def _source(what: str, name: str, options: dict, preset: HubSource | None = None) -> HubSource:
    known = {field.name for field in fields(HubSource)} - {"id", "name"}
    if unknown := options.keys() - known:
        raise UnknownName(f"option of {what}", ", ".join(sorted(unknown)), known)
    return dataclasses.replace(preset, **options) if preset else HubSource(name, **options)
