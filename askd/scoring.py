r"""Word error rate as the field reports it.

    counts = word_errors(references, hypotheses)        # of each utterance
    counts.wer                                          # of all of them
    align(["the cat sat down"], ["the cat sit down"])[0].heard     # ('the', 'cat', 'sit', 'down')

Texts go through Whisper's English normaliser; jiwer aligns the words of each utterance; the counts are kept per
utterance, so that every table and interval can be made from them without aligning again.

    WER = (S + D + I) / N      over all utterances of a domain (corpus level), in percent
    CER = the same over characters, the spaces between words among them
    macro = unweighted mean of the domains' WER

A reference without words (silence) has N = 0, and every word of its hypothesis is an insertion; an empty hypothesis is N
deletions; both empty is no error. So silence adds errors to a domain and no words. The normaliser leaves the last dot of "..."
as a word, as Whisper's own does; we keep it, so that numbers can be compared.
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
    """Whisper's English normalisation: case, punctuation, numbers, spelling, contractions, fillers.

    >>> normalise("Um, it's twenty-three dollars!")
    'it is $23'
    """
    return _normaliser()(text).strip()


def scorer_name() -> str:
    """Scorer and versions, for every table; WERs of different scorers must not be compared."""
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


@dataclass(frozen=True)
class Alignment:
    """One utterance word by word, after normalisation."""

    reference: tuple[str, ...]
    hypothesis: tuple[str, ...]
    heard: tuple[str | None, ...]  # of each reference word, the hypothesis word it is aligned with; None: deleted
    inserted: tuple[tuple[str, ...], ...]  # before each reference word, and after the last
    right: tuple[bool, ...]  # of each hypothesis word: it stands in the reference at its place


def _paired(references: Sequence[str], hypotheses: Sequence[str]) -> tuple[list[str], list[str]]:
    if len(references) != len(hypotheses):
        raise ValueError(f"{len(references)} references but {len(hypotheses)} hypotheses")
    return [normalise(text) for text in references], [normalise(text) for text in hypotheses]


def align(references: Sequence[str], hypotheses: Sequence[str]) -> list[Alignment]:
    """Align every hypothesis with its reference after normalisation, with as few errors as possible.

    Of several alignments with equally few errors jiwer's is taken.

    Raises:
        ValueError: different numbers of references and hypotheses.
    """
    import jiwer

    references, hypotheses = _paired(references, hypotheses)
    if not references:
        return []
    found = jiwer.process_words(references, hypotheses)
    return [_alignment(*parts) for parts in zip(found.references, found.hypotheses, found.alignments, strict=True)]


def _alignment(reference: list[str], hypothesis: list[str], chunks) -> Alignment:
    reference, hypothesis = [[word for word in words if word] for words in (reference, hypothesis)]  # jiwer: [""] for nothing
    heard: list[str | None] = [None] * len(reference)
    inserted: list[list[str]] = [[] for _ in range(len(reference) + 1)]
    right = [False] * len(hypothesis)
    for chunk in chunks:
        said = range(chunk.ref_start_idx, chunk.ref_end_idx)
        written = range(chunk.hyp_start_idx, chunk.hyp_end_idx)
        if chunk.type == "insert":
            inserted[chunk.ref_start_idx] += [hypothesis[j] for j in written]
        elif chunk.type != "delete":
            for i, j in zip(said, written, strict=True):
                heard[i], right[j] = hypothesis[j], chunk.type == "equal"
    return Alignment(tuple(reference), tuple(hypothesis), tuple(heard), tuple(map(tuple, inserted)), tuple(right))


def word_errors(references: Sequence[str], hypotheses: Sequence[str]) -> WordErrors:
    """Substituted, deleted and inserted words of each utterance after normalisation.

    Raises:
        ValueError: different numbers of references and hypotheses.

    >>> word_errors(["the cat sat down"], ["the cat sit"]).wer  # one substituted, one deleted, of four
    50.0
    """
    counts = np.zeros((4, len(references)), np.int64)
    for i, found in enumerate(align(references, hypotheses)):
        deleted, right = found.heard.count(None), sum(found.right)
        counts[:, i] = (
            len(found.heard) - deleted - right, deleted, sum(map(len, found.inserted)), len(found.reference)
        )
    return WordErrors(*counts)


def char_errors(references: Sequence[str], hypotheses: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Wrong characters and reference characters of each utterance after normalisation: two int64 arrays (utterances,).

    Raises:
        ValueError: different numbers of references and hypotheses.
    """
    from rapidfuzz.distance import Levenshtein  # jiwer's engine; jiwer itself gives totals only

    references, hypotheses = _paired(references, hypotheses)
    errors = [Levenshtein.distance(*pair) for pair in zip(references, hypotheses, strict=True)]
    return np.array(errors, np.int64), np.array([len(text) for text in references], np.int64)


def domain_table(rows: Iterable[Mapping], splits: Mapping[str, str]) -> dict[str, dict]:
    """Hypothesis rows -> ``{domain: {split, errors, words, wer, sub, del, ins, utterances, cer}}`` in order of appearance.

    Rates in percent. A domain without a reference word counts its errors over one word, so that it cannot pass for perfect, and
    is left out of the macro.
    """
    by_domain: dict[str, list[Mapping]] = {}
    for row in rows:
        by_domain.setdefault(row["domain"], []).append(row)
    table = {}
    for domain, group in by_domain.items():
        texts = [r["reference"] for r in group], [r["hypothesis"] for r in group]
        counts = word_errors(*texts)
        wrong, characters = char_errors(*texts)
        table[domain] = {
            "split": splits[domain], "errors": int(counts.errors.sum()), "words": int(counts.words.sum()),
            "wer": round(counts.wer, 3), "sub": int(counts.sub.sum()), "del": int(counts.dele.sum()),
            "ins": int(counts.ins.sum()), "utterances": len(group),
            "cer": round(100 * int(wrong.sum()) / max(1, int(characters.sum())), 3),
        }
    return table


def macro(table: Mapping[str, Mapping], rate: str = "wer") -> dict[str, float | None]:
    """Unweighted mean ``wer`` or ``cer`` of the in-domain, the out-of-domain and all domains; None where there are none."""
    def mean(split: str | None) -> float | None:
        values = [entry[rate] for entry in table.values() if split in (None, entry["split"]) and entry["words"]]
        return round(float(np.mean(values)), 3) if values else None

    return {"in_domain": mean("in_domain"), "out_of_domain": mean("out_of_domain"), "all": mean(None)}
