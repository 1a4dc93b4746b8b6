"""What every source of recordings hands over: a transcript, a speaker and where the sound lies; nothing is read yet."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Record:
    """One transcribed recording of a folder, a corpus or a Hub data set."""

    id: str  # unique within its source
    text: str
    speaker: str  # a name; a source that does not know its speakers gives each recording its own
    audio: Path | bytes  # a file, or an encoded file's content (Hub data sets embed it)
    where: str = ""  # for messages: "metadata.csv, row 12"
    domain: str = ""  # when its source names one of its own


@dataclass(frozen=True)
class Problem:
    """Something wrong with one recording or its row."""

    where: str  # "metadata.csv, row 12, column text"
    what: str  # "empty transcript: of a.wav"; what stands before the colon is its kind

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"
