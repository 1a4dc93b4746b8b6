"""What makes a pseudo-label worth training on: the numbers of a row, and the filters that look at them.

    row = judged(segment, said, errors)        # text, confidence, repeats, compression, pace, WER ...
    Filters(max_wer=5).reason(row)             # "" is kept; else the first check that failed
"""

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from askd.audio import SAMPLING_RATE_HZ
from askd.errors import AskdError
from askd.foldercheck import CHARS_PER_S
from askd.scoring import normalise
from askd.segments import Segment

TEXTS = ("teacher", "given")
DUPLICATE = "duplicate"  # the reason of a recording whose file has the content of an earlier one that is kept


@dataclass(frozen=True)
class Filters:
    """What a label must fulfil to be kept; None switches a filter off. A transcript without words, or cut at the token limit,
    is never kept.

    Raises:
        AskdError: a field out of range, named.
    """

    max_wer: float | None = 10.0  # percent, against a given transcript, both normalised. distil-whisper
    max_repeats: int | None = 2  # word 5-grams that came before: a loop has many. The measure is distil-whisper's, the limit ours
    max_compression: float | None = 2.4  # bytes of text / bytes after zlib. Whisper
    min_confidence: float | None = round(math.exp(-1.0), 4)  # exp(mean log p of the tokens); Whisper's limit is -1 nat
    min_token_confidence: float | None = None  # p of the least certain token
    chars_per_s: tuple[float, float] | None = CHARS_PER_S  # fewer: speech was passed over; more: it was made up. Ours
    allow_capitals: bool = False  # several words, all in capitals, are a decoding failure of large-v3. distil-whisper

    def __post_init__(self):
        for name, high in (("min_confidence", 1), ("min_token_confidence", 1), ("max_wer", math.inf), ("max_repeats", math.inf),
                           ("max_compression", math.inf)):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= high:
                raise AskdError(f"{name} must lie between 0 and {high}, not {value}")
        if self.chars_per_s and not 0 <= self.chars_per_s[0] < self.chars_per_s[1]:
            raise AskdError(f"chars_per_s must be two rates, the lower one first, not {self.chars_per_s}")

    def reason(self, row: Mapping) -> str:
        """Why a row is not kept, as its first failed check; empty when it is.

        Args:
            row: columns of `judged`.
        """
        text, low_high = row["teacher"], self.chars_per_s
        checks = {
            "no words": not normalise(text),
            "not ended": not row["ended"],
            "repetition": self.max_repeats is not None and row["repeats"] > self.max_repeats,
            "compression": self.max_compression is not None and row["compression"] > self.max_compression,
            "confidence": self.min_confidence is not None and row["confidence"] < self.min_confidence,
            "token confidence": self.min_token_confidence is not None and row["token_confidence"] < self.min_token_confidence,
            "pace": low_high is not None and not low_high[0] <= row["chars_per_s"] <= low_high[1],
            "capitals": not self.allow_capitals and text.isupper() and len(text.split()) > 1,
            "WER": None not in (self.max_wer, row["wer"]) and row["wer"] > self.max_wer,
            "no transcript": not row["text"],
        }
        return next((name for name, failed in checks.items() if failed), "")


def repeated_ngrams(text: str, n: int = 5) -> int:
    """How many word n-grams of the normalised text stood in it before: distil-whisper's measure of hallucination."""
    words = normalise(text).split()
    grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
    return len(grams) - len(set(grams))


def compression_ratio(text: str) -> float:
    """Bytes of the text / bytes after zlib (Whisper): about 1 for a sentence, 10 for a loop."""
    content = text.encode()
    return len(content) / len(zlib.compress(content))


def judged(segment: Segment, said: Mapping, errors: tuple[int, int] | None, text: str = "teacher") -> dict:
    """One row: a segment, what the teacher said, and the numbers that the filters look at.

    Args:
        segment: what was transcribed.
        said: its row of transcripts.jsonl.
        errors: word errors and reference words, or None where no transcript was given.
        text: ``teacher`` or ``given``: which transcript is the label. A piece of a longer recording has no given one.
    """
    given, heard = segment.record.text, said["text"]
    label = heard if text == "teacher" else given if segment.whole else ""
    return {
        "id": segment.id, "path": segment.path, "text": label, "speaker": segment.record.speaker,
        "domain": segment.record.domain, "duration_s": round(segment.audio_s, 3), "teacher": heard, "given": given or None,
        "wer": None if errors is None else round(100 * errors[0] / max(1, errors[1]), 2),
        "errors": None if errors is None else errors[0], "words": None if errors is None else errors[1],
        "confidence": round(math.exp(sum(said["log_probs"]) / len(said["log_probs"])), 4),
        "token_confidence": round(math.exp(min(said["log_probs"])), 4), "repeats": repeated_ngrams(heard),
        "compression": round(compression_ratio(heard), 3), "chars_per_s": round(len(heard) / segment.audio_s, 2),
        "ended": said["ended"], "recording": str(segment.record.audio), "start_s": round(segment.start / SAMPLING_RATE_HZ, 2),
    }
