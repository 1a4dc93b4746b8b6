r"""Word error rate as the field reports it.

Texts go through Whisper's English normaliser; jiwer aligns the words of each utterance; the counts are kept per
utterance, so that every table and interval can be made from them without aligning again.

    WER = (S + D + I) / N      over all utterances of a domain (corpus level), in percent
    macro = unweighted mean of the domains' WER
"""

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np


@functools.cache
def _normaliser():
    from whisper_normalizer.english import EnglishTextNormalizer

    return EnglishTextNormalizer()


@functools.lru_cache(maxsize=50_000)
def normalise(text: str) -> str:
    """Whisper's English normalisation: case, punctuation, numbers, spelling, contractions, fillers."""
    return _normaliser()(text).strip()


def scorer_name() -> str:
    """Scorer and versions; WERs of different scorers must not be compared."""
    return (
        f"jiwer {version('jiwer')}, Whisper's English normaliser (whisper-normalizer {version('whisper-normalizer')}), "
        "corpus-level WER in percent, unweighted macro over domains"
    )


@dataclass(frozen=True)
class WordErrors:
    """Counts per utterance, int64 arrays (utterances,)."""

    sub: np.ndarray
    dele: np.ndarray
    ins: np.ndarray
    words: np.ndarray  # reference words

    @property
    def errors(self) -> np.ndarray:
        """S + D + I of each utterance."""
        return self.sub + self.dele + self.ins

    @property
    def wer(self) -> float:
        """Corpus-level WER in percent."""
        return 100 * float(self.errors.sum()) / max(1, int(self.words.sum()))


def word_errors(references: Sequence[str], hypotheses: Sequence[str]) -> WordErrors:
    """Align every hypothesis with its reference after normalisation.

    A reference without words (silence) has N = 0 and every word of its hypothesis is an insertion.

    Raises:
        ValueError: different numbers of references and hypotheses.
    """
    import jiwer

    if len(references) != len(hypotheses):
        raise ValueError(f"{len(references)} references but {len(hypotheses)} hypotheses")
    counts = np.zeros((4, len(references)), np.int64)
    for i, (reference, hypothesis) in enumerate(zip(references, hypotheses, strict=True)):
        reference, hypothesis = normalise(reference), normalise(hypothesis)
        if not reference:
            counts[2, i] = len(hypothesis.split())
            continue
        result = jiwer.process_words(reference, hypothesis)
        counts[:, i] = (
            result.substitutions, result.deletions, result.insertions,
            result.hits + result.substitutions + result.deletions,
        )
    return WordErrors(*counts)


def domain_table(rows: Iterable[Mapping], splits: Mapping[str, str]) -> dict[str, dict]:
    """Hypothesis rows -> ``{domain: {split, errors, words, wer, sub, del, ins, utterances}}`` in order of appearance."""
    by_domain: dict[str, list[Mapping]] = {}
    for row in rows:
        by_domain.setdefault(row["domain"], []).append(row)
    table = {}
    for domain, group in by_domain.items():
        counts = word_errors([r["reference"] for r in group], [r["hypothesis"] for r in group])
        table[domain] = {
            "split": splits[domain], "errors": int(counts.errors.sum()), "words": int(counts.words.sum()),
            "wer": round(counts.wer, 3), "sub": int(counts.sub.sum()), "del": int(counts.dele.sum()),
            "ins": int(counts.ins.sum()), "utterances": len(group),
        }
    return table


def macro(table: Mapping[str, Mapping]) -> dict[str, float | None]:
    """Unweighted mean WER of the in-domain, the out-of-domain and all domains; None where there are none."""
    def mean(split: str | None) -> float | None:
        values = [entry["wer"] for entry in table.values() if split in (None, entry["split"])]
        return round(float(np.mean(values)), 3) if values else None

    return {"in_domain": mean("in_domain"), "out_of_domain": mean("out_of_domain"), "all": mean(None)}
