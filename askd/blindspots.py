r"""Error inheritance: does a distilled student make its teacher's mistakes?

    splits = {"neural_clean": "in_domain", "caribbean_hall": "out_of_domain"}
    found = report(rows, Draws(rows["teacher"]), splits, PAIRS)            # rows: model -> its hypothesis rows
    found["models"]["askd"]["splits"]["all"]["excess"]                     # {"value": ..., "ci95": [low, high]}, percent
    found["models"]["askd"]["most_inherited"][0]                           # [said, heard, how often]

At reference word r_i of utterance u and domain d the teacher's outcome t_i is r_i (right), another word v (substituted)
or None (deleted); the student's is s_i. Sums run over the utterances of a split:

    inherited share       = #{t_i != r_i and s_i = t_i} / #{t_i != r_i}
    expected_i            = e_d q_u(t_i | r_i)
    expected share        = sum of expected_i over {t_i != r_i} / #{t_i != r_i}
    excess                = inherited share - expected share
    same when both wrong  = #{t_i != r_i and s_i = t_i} / #{t_i != r_i and s_i != r_i}
    inherited insertions  = sum of |T_g & S_g| / sum of |T_g|       T_g, S_g: multisets inserted into gap g between words

The expected share is that of a student with the same word errors that does not know where the teacher is wrong.
- e_d = the share of d's reference words that this student gets wrong (insertions are not counted).
- q_u(v | r) = the share of v among the student's wrong outcomes, None for deleted, at the word r in d; where it got r wrong
  nowhere else in d, at r in all domains; failing that, at all words of d; zero if it was wrong nowhere else. It depends on r
  because any model that mishears "and" writes "an": without r every common confusion would pass for inheritance.
- q_u leaves out utterance u, so that a copied error does not vouch for itself. One that was copied in several utterances
  still does: the expected share of a true heir is too high, and its excess is on the safe side.
- For a word that the student gets wrong only once q knows too little, and the excess is too high: students simulated as
  independent come out at 0 over 60 words in Zipf's proportions, at 2 points over 1,000. On the 410 test clips of profile
  ``cpu``, where most words are said once, the expected share is below 1 %: there the control below is the baseline, not chance.

Words of all domains are pooled, not averaged per domain: an easy domain has a handful of wrong words, and its share is noise.

What this cannot tell: a hard word is hard for everyone. Two models that never met are wrong at the same slurred word more often
than chance, and the same noise leads them to the same wrong word, so an excess above zero is no proof of inheritance. Hence
`PAIRS`: the student trained *without* the teacher (``ce_only``) has heard the same speech, and what a distilled student has on
top of it is the teacher's part. Where students start from the teacher's weights, ``ce_only`` has inherited from it too. A
student that errs more also inherits more; ``same when both wrong`` does not grow with the number of errors, so read both. And
which of several equally short alignments is true is the aligner's choice. Intervals resample utterances with e and q held fixed.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial

import numpy as np

from askd.errors import pick
from askd.intervals import Draws, Estimate, by_split
from askd.panel import Rows, panel, per_seed, same_utterances
from askd.scoring import Alignment, align

PAIRS = (("constant_kd", "ce_only"), ("askd", "constant_kd"), ("askd", "ce_only"))
COMPARED = ("inherited_share", "excess", "same_when_both_wrong")
TOP = 20  # rows of the lists for people. Ours
DIGITS = 2  # decimals of percentages


@dataclass(frozen=True)
class Inheritance:
    """What one student shares with its teacher: counts per utterance, arrays (n,), int64 unless said otherwise."""

    domains: tuple[str, ...]
    words: np.ndarray  # reference words
    teacher_wrong: np.ndarray  # reference words the teacher substituted or deleted
    student_wrong: np.ndarray
    both_wrong: np.ndarray
    inherited: np.ndarray  # both wrong, in the same way
    expected: np.ndarray  # float64: how many of them chance would give
    teacher_inserted: np.ndarray  # words
    inherited_inserted: np.ndarray  # of them, the student inserted in the same gap
    confusions: Counter  # (said, heard) -> how often inherited; heard None: left out

    def counts(self, domain: str) -> dict[str, int]:
        """Reference words of a domain by who was right; the five add up to all of its words."""
        mine = np.array([d == domain for d in self.domains], bool)
        words, teacher, student, both, same = (
            int(a[mine].sum()) for a in (self.words, self.teacher_wrong, self.student_wrong, self.both_wrong, self.inherited)
        )
        return {
            "both_right": words - teacher - student + both, "student_wrong_only": student - both,
            "teacher_wrong_only": teacher - both, "both_wrong_same": same, "both_wrong_otherwise": both - same,
        }


def wrong_words(alignment: Alignment) -> list[tuple[int, str, str | None]]:
    """(place, said, heard) of each reference word that is not right; heard None: left out."""
    pairs = zip(alignment.reference, alignment.heard, strict=True)
    return [(i, said, heard) for i, (said, heard) in enumerate(pairs) if heard != said]


def inherited_words(teacher: Alignment, student: Alignment) -> list[tuple[int, str, str | None]]:
    """(place, said, heard) of each reference word of one utterance that both get wrong in the same way."""
    theirs = set(wrong_words(student))
    return [word for word in wrong_words(teacher) if word in theirs]


def inheritance(teacher: Sequence[Alignment], student: Sequence[Alignment], domains: Sequence[str]) -> Inheritance:
    """Count what the student shares with the teacher.

    Args:
        teacher, student: of the same n utterances in the same order, from `askd.scoring.align`.
        domains: of each utterance, (n,).

    Raises:
        ValueError: different numbers of utterances, or different references.
    """
    n = np.zeros((7, len(domains)), np.int64)
    confusions: Counter = Counter()
    for u, (t, s, _) in enumerate(zip(teacher, student, domains, strict=True)):
        if t.reference != s.reference:
            raise ValueError(f"utterance {u}: the reference is {' '.join(t.reference)!r} for the teacher but "
                             f"{' '.join(s.reference)!r} for the student")
        t_wrong, s_wrong, same = wrong_words(t), wrong_words(s), inherited_words(t, s)
        both = {i for i, *_ in t_wrong} & {i for i, *_ in s_wrong}
        shared = sum((Counter(T) & Counter(S)).total() for T, S in zip(t.inserted, s.inserted, strict=True) if T and S)
        n[:, u] = len(t.reference), len(t_wrong), len(s_wrong), len(both), len(same), sum(map(len, t.inserted)), shared
        confusions.update((said, heard) for _, said, heard in same)
    words, teacher_wrong, student_wrong, both_wrong, inherited, teacher_inserted, inherited_inserted = n
    return Inheritance(
        tuple(domains), words, teacher_wrong, student_wrong, both_wrong, inherited,
        expected_inherited(teacher, student, domains), teacher_inserted, inherited_inserted, confusions,
    )


def _contexts(domain: str, said: str) -> Iterator[tuple[str | None, str | None]]:
    yield from ((domain, said), (None, said), (domain, None))  # from narrow to wide


def _outcomes(alignment: Alignment, domain: str) -> Counter:
    """Wrong outcomes of one utterance: ``context`` -> all of them, ``(context, heard)`` -> those that were heard so."""
    found: Counter = Counter()
    for _, said, heard in wrong_words(alignment):
        for context in _contexts(domain, said):
            found[context] += 1
            found[context, heard] += 1
    return found


def expected_inherited(teacher: Sequence[Alignment], student: Sequence[Alignment], domains: Sequence[str]) -> np.ndarray:
    """The sum of expected_i = e_d q_u(t_i | r_i) over the teacher's wrong words of each utterance, (n,) float64.

    Args:
        teacher, student, domains: as for `inheritance`.
    """
    own = [_outcomes(a, d) for a, d in zip(student, domains, strict=True)]
    n: Counter = Counter()
    words: Counter = Counter()
    for outcomes, alignment, d in zip(own, student, domains, strict=True):
        n.update(outcomes)
        words[d] += len(alignment.reference)
    expected = np.zeros(len(domains))
    for u, (alignment, d) in enumerate(zip(teacher, domains, strict=True)):
        for _, r, v in wrong_words(alignment):
            for context in _contexts(d, r):
                if elsewhere := n[context] - own[u][context]:
                    e = n[d, None] / words[d]
                    q = (n[context, v] - own[u][context, v]) / elsewhere
                    expected[u] += e * q
                    break
    return expected


def shares(found: Inheritance, draws: Draws, domains: Sequence[str] | None = None) -> dict[str, Estimate]:
    """The five shares in percent, pooled over domains; NaN where there is nothing to share.

    Args:
        found: from `inheritance`, utterances in the order of the draws.
        draws: the same object for every student, so that differences are paired.
        domains: default all.
    """
    columns = (found.teacher_wrong, found.inherited, found.expected, found.both_wrong, found.teacher_inserted,
               found.inherited_inserted)
    # one pass over the resamples for all columns: five of Draws.ratio would take five
    sums = np.vstack(draws.sums(np.stack(columns, 1), domains)).T  # (6, 1 + R), the point first
    teacher_wrong, inherited, expected, both_wrong, inserted, inherited_inserted = sums

    def share(part: np.ndarray, whole: np.ndarray) -> Estimate:
        with np.errstate(divide="ignore", invalid="ignore"):
            values = 100 * part / whole
        return Estimate(float(values[0]), values[1:], draws.blocks(domains))

    return {
        "inherited_share": share(inherited, teacher_wrong), "expected_share": share(expected, teacher_wrong),
        "excess": share(inherited - expected, teacher_wrong), "same_when_both_wrong": share(inherited, both_wrong),
        "inherited_insertions": share(inherited_inserted, inserted),
    }


def most_inherited(found: Inheritance, top: int = TOP) -> list[list]:
    """``[said, heard, count]`` of the errors inherited most often; heard None: left out.

    The lone dots that the normaliser leaves of "..." are counted with the words everywhere else, but are none to show.
    """
    words = [item for item in found.confusions.items() if any(map(str.isalnum, item[0][0]))]
    ordered = sorted(words, key=lambda item: (-item[1], item[0][0], item[0][1] or ""))
    return [[said, heard, count] for (said, heard), count in ordered[:top]]


def clips_to_hear(found: Inheritance, ids: Sequence[str], top: int = TOP) -> list[list]:
    """``[domain, id, inherited words]`` of the utterances with most inherited words; none without any."""
    ordered = sorted((-int(count), d, id) for count, d, id in zip(found.inherited, found.domains, ids, strict=True) if count)
    return [[d, id, -count] for count, d, id in ordered[:top]]


def summed(found: Sequence[Inheritance]) -> Inheritance:
    """Several training seeds of one student as one: counts and confusions are added up."""
    names = [f.name for f in fields(Inheritance) if f.name not in ("domains", "confusions")]
    arrays = {name: sum(getattr(one, name) for one in found) for name in names}
    return Inheritance(domains=found[0].domains, confusions=sum((one.confusions for one in found), Counter()), **arrays)


def report(
    rows: Mapping[str, Rows | Sequence[Rows]], draws: Draws, splits: Mapping[str, str],
    pairs: Sequence[tuple[str, str]] = PAIRS, teacher: str = "teacher",
) -> dict:
    """Error inheritance of every student, and the paired differences between students, as JSON; percent and points.

    Args:
        rows: hypothesis rows by model, all on the same utterances in the same order; of several training seeds a list of them.
            Every model but the teacher is a student.
        draws: of any model's rows.
        splits: ``in_domain`` or ``out_of_domain`` by domain; a split without a domain is left out.
        pairs: (a, b) of students to compare, a minus b.
        teacher: its name in ``rows``.

    Returns:
        ``{"models": {student: {"splits", "domains", "most_inherited", "clips"}}, "comparisons": [...]}``. A share of nothing is
        None, and a difference of such is left out. Counts are summed over seeds, shares are means over them.

    Raises:
        AskdError: no such teacher or student, or models that heard other utterances.
    """
    first = per_seed(pick("model", teacher, rows))[0]
    same_utterances(rows)
    domains, ids, references = ([row[key] for row in first] for key in ("domain", "id", "reference"))
    names = list(dict.fromkeys(domains))
    for domain in names:
        pick("domain", domain, splits)
    heard = align(references, [row["hypothesis"] for row in first])
    found = {
        name: [inheritance(heard, align(references, [row["hypothesis"] for row in mine]), domains) for mine in per_seed(given)]
        for name, given in rows.items() if name != teacher
    }
    by = by_split(names, splits)
    of = {name: [partial(shares, one, draws) for one in seeds] for name, seeds in found.items()}
    result = panel(of, draws, by, pairs, DIGITS, COMPARED)
    for name, seeds in found.items():
        total = summed(seeds)
        counts = {domain: total.counts(domain) for domain in names}
        for split, its in by.items():
            same = sum(counts[d]["both_wrong_same"] for d in its)
            wrong = same + sum(counts[d]["both_wrong_otherwise"] + counts[d]["teacher_wrong_only"] for d in its)
            result["models"][name]["splits"][split] |= {"teacher_wrong": wrong, "inherited": same}
        result["models"][name] |= {"domains": counts, "most_inherited": most_inherited(total), "clips": clips_to_hear(total, ids)}
    return result
