r"""Signs of hallucination in transcripts of speech: words that were not said, loops, and speech that was left out.

    draws = Draws(rows["teacher"])
    found = report(rows, draws, splits, pairs=[("askd", "teacher")])
    found["models"]["askd"]["splits"]["out_of_domain"]["insertion_rate"]       # {"value": ..., "ci95": [..., ...]}

Everything comes from hypothesis rows, never from a model. Words are those of `askd.scoring.align`: after Whisper's normaliser.

    insertion, deletion, substitution rate = I, D, S in percent of reference words; their sum is the WER
    repeated 5-grams    5-grams of words that stood before in the same hypothesis (all less the distinct ones), per 1000
                        reference words. distil-whisper (its Table 8, `run_eval.py`) counts them over the joined hypotheses of
                        a set; we do not, since our voices read the same sentences
    compression         bytes of the hypothesis over bytes of its zlib stream; loops compress well. Whisper decodes again above
                        2.4 (openai/whisper, `compression_ratio_threshold`)
    length ratio        hypothesis words over reference words = 1 + (I - D) / N
    early end           the model ended, and at least 3 reference words at the end are deleted in a row; a shorter reference
                        has none
    cut                 the model had not ended at the token limit. Rows that do not tell (other programs') count as ended
                        above, and not at all here

Repeats and compression look for loops, insertions also find fluent inventions; none of them sees an invention that replaces what
was said word by word. Sounds without speech are `askd.nonspeech`.
"""

from collections.abc import Collection, Mapping, Sequence
from functools import partial

import numpy as np

from askd.intervals import Draws, Estimate, by_split
from askd.labelfilters import compression_ratio, repeated_ngrams
from askd.panel import Rows, panel, per_seed, same_utterances
from askd.scoring import Alignment, align

COMPRESSED = 2.4  # openai/whisper
EARLY_END_WORDS = 3  # ours: one or two missing words at the end are often the scorer's or the speaker's
WORST = 20

# measure -> numerator and denominator of `counts`, pooled, scale. Rates of words are macros over domains, as the WER is, so that
# they add up to it. Loops, early ends and cuts are rare: a single one in a small domain would decide a macro, so they are pooled.
MEASURES: dict[str, tuple[str, str, bool, float]] = {
    "insertion_rate": ("inserted", "words", False, 100),
    "deletion_rate": ("deleted", "words", False, 100),
    "substitution_rate": ("substituted", "words", False, 100),
    "repeated_5grams_per_1000_words": ("repeated", "words", True, 1000),
    "compressed_share": ("compressed", "utterances", True, 100),
    "length_ratio": ("hypothesis_words", "words", False, 1),
    "early_end_share": ("early_end", "utterances", True, 100),
    "cut_share": ("cut", "told_ended", True, 100),
}


def deleted_at_end(alignment: Alignment) -> int:
    """Reference words after the last one that anything was written for."""
    written = [i for i, word in enumerate(alignment.heard, 1) if word is not None]
    return len(alignment.heard) - max(written, default=0)


def counts(rows: Rows) -> dict[str, np.ndarray]:
    """What `MEASURES` are made of, of each utterance: int64 arrays (n,).

    Args:
        rows: hypothesis rows of one model.
    """
    columns = []
    found = align([r["reference"] for r in rows], [r["hypothesis"] for r in rows])
    for row, alignment in zip(rows, found, strict=True):
        words, deleted, ended = len(alignment.reference), alignment.heard.count(None), row.get("ended", True)
        columns.append({
            "utterances": 1, "told_ended": "ended" in row, "words": words, "hypothesis_words": len(alignment.hypothesis),
            "inserted": sum(map(len, alignment.inserted)), "deleted": deleted,
            "substituted": words - deleted - sum(alignment.right),
            "repeated": repeated_ngrams(row["hypothesis"]), "compressed": compression_ratio(row["hypothesis"]) > COMPRESSED,
            "early_end": ended and deleted_at_end(alignment) >= EARLY_END_WORDS, "cut": not ended,
        })
    return {name: np.array([c[name] for c in columns], np.int64) for name in columns[0]} if columns else {}


def _measured(counted: Mapping[str, np.ndarray], draws: Draws, domains: Collection[str]) -> dict[str, Estimate]:
    return {
        measure: draws.ratio(counted[numerator], counted[denominator], domains, pooled, scale)
        for measure, (numerator, denominator, pooled, scale) in MEASURES.items()
    }


def report(
    rows: Mapping[str, Rows | Sequence[Rows]], draws: Draws, splits: Mapping[str, str], pairs: Sequence[tuple[str, str]]
) -> dict:
    """All `MEASURES` of all models with intervals, and paired differences.

    Args:
        rows: hypothesis rows by model, all of the same utterances; of several training seeds, a list of them.
        draws: resamples of those utterances.
        splits: ``in_domain`` or ``out_of_domain`` by domain.
        pairs: (a, b) to compare: a minus b.

    Returns:
        ``{"models": {name: {"splits": {split: {measure: {"value", "ci95"}}}, "worst": [[domain, id, inserted words], ...]}},
        "comparisons": [{"a", "b", "split", "measure", "delta", "ci95", "p"}]}``. A measure with nothing to count is None.
        ``worst``: the (at most) 20 utterances with the most inserted words and how many, of several seeds in the worst.

    Raises:
        AskdError: the models did not transcribe the same utterances.
    """
    same_utterances(rows)
    counted = {name: [counts(seed_rows) for seed_rows in per_seed(given)] for name, given in rows.items()}
    measured = {name: [partial(_measured, found, draws) for found in seeds] for name, seeds in counted.items()}
    found = panel(measured, draws, by_split(list(draws.places), splits), pairs, digits=3)
    for name, given in rows.items():
        inserted = np.max([c["inserted"] for c in counted[name]], axis=0)  # (n,)
        order = [i for i in np.argsort(-inserted, kind="stable")[:WORST] if inserted[i]]
        first = per_seed(given)[0]
        found["models"][name]["worst"] = [[first[i]["domain"], first[i]["id"], int(inserted[i])] for i in order]
    return found
