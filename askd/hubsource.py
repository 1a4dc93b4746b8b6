"""Which data set of the Hugging Face Hub, and which of its columns mean what. `askd.hub` reads it.

    parse_hub("hub:librispeech_clean")                                       a preset of data/hub_presets.yaml
    parse_hub("hub:openslr/librispeech_asr?config=clean&split=train.360")    options are the fields of `HubSource`
    parse_hub("hub:./copies/my_corpus?text=sentence&speaker=client_id")      a folder: Hub layout or save_to_disk
"""

import functools
import re
from dataclasses import dataclass, fields, replace
from pathlib import Path
from urllib.parse import parse_qsl

from askd.errors import AskdError, UnknownName
from askd.files import data_dir


@dataclass(frozen=True)
class HubSource:
    """Where a data set lies and which of its columns mean what.

    Raises:
        AskdError: a field that does not fit, named.
    """

    id: str  # owner/name on the Hub, or a local folder
    config: str | None = None
    split: str | None = None  # this one, whatever the role
    train: str | None = None  # the split of each role; None: the usual names
    dev: str | None = None
    test: str | None = None
    audio: str = "audio"  # columns
    text: str = "text"
    speaker: str | None = None  # None: each recording has a speaker of its own
    id_column: str | None = None  # None: split and row
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


@functools.cache
def presets() -> dict[str, HubSource]:
    """The well-known data sets of ``data/hub_presets.yaml``, by name."""
    import yaml

    declared = yaml.safe_load((data_dir() / "hub_presets.yaml").read_text(encoding="utf-8"))
    return {name: _source(f"preset {name}", entry.pop("id"), entry) for name, entry in declared.items()}


def parse_hub(text: str) -> HubSource:
    """``hub:PRESET``, ``hub:owner/name`` or ``hub:FOLDER``, with options after ``?`` (the prefix may be left out).

    Raises:
        UnknownName: no such preset or option; the message lists what exists.
        AskdError: an option that does not fit.
    """
    name, _, query = text.removeprefix("hub:").partition("?")
    options = {key: value or None for key, value in parse_qsl(query, keep_blank_values=True)}
    for key in {"streaming", "gated"} & options.keys():
        options[key] = {"true": True, "1": True, "false": False, "0": False}.get(str(options[key]).lower(), options[key])
    if name not in presets() and (not name or ("/" not in name and not Path(name).is_dir())):
        raise UnknownName("hub preset (others are owner/name or a folder)", name, presets())
    return _source(text, name, options, presets().get(name))


def _source(what: str, name: str, options: dict, preset: HubSource | None = None) -> HubSource:
    known = {field.name for field in fields(HubSource)} - {"id"}
    if unknown := options.keys() - known:
        raise UnknownName(f"option of {what}", ", ".join(sorted(unknown)), known)
    return replace(preset, **options) if preset else HubSource(name, **options)
