r"""Two models on the same utterances: what they differ by, with intervals, and the utterances that changed most. No model needed.

    a, b = (read_rows(hypotheses_file(name)) for name in ("runs/cpu:askd", "runs/cpu:teacher"))
    print(as_text(compare(a, b), "askd", "teacher"))

    difference = WER(A) - WER(B)      in points, of each domain and of the unweighted means over domains; negative: A is better

Utterances are matched by domain and id; resamples are paired (`askd.intervals`). Domains are many chances to find something:
their p-values are adjusted after Holm. Substitutions, deletions and insertions are in percent of reference words.
"""

import itertools
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from askd.domains import all_domains
from askd.errors import AskdError, UnknownName
from askd.intervals import Draws, Estimate, by_split, holm, in_words
from askd.scoring import Alignment, align, char_errors, normalise, scorer_name, word_errors

MEASURES = {"wer": "WER", "cer": "CER", "sub": "substitutions", "del": "deletions", "ins": "insertions"}
SPLITS = {"in_domain": "mean in-domain", "out_of_domain": "mean out-of-domain", "all": "mean of all domains"}
LEVEL = 0.05  # of the sentence about single domains
LONG = 40  # reference words from which on only the surroundings of errors are shown
NEAR = 4  # so many words on each side
LINES = 4  # of a text
WIDTH = 100


def hypotheses_file(name: str) -> Path:
    """The file that is meant: a JSONL file, a folder with hypotheses of one model, or ``FOLDER:MODEL``.

    Raises:
        AskdError: nothing there, or several models and none chosen; the message lists them.
        UnknownName: no such model.
    """
    if Path(name).is_file():
        return Path(name)
    folder, model = (name, "") if Path(name).is_dir() else name.rpartition(":")[::2]
    if not folder or not Path(folder).is_dir():
        raise AskdError(f"{name}: no such file or folder; give a hypotheses file, a folder of askd evaluate, a run folder, "
                        "or RUN:MODEL")
    places = [Path(folder) / "hypotheses", Path(folder) / "results" / "hypotheses"]
    found = {path.stem: path for place in places for path in sorted(place.glob("*.jsonl"))}
    if not found:
        raise AskdError(f"{folder} has no hypotheses: there is neither hypotheses/*.jsonl nor results/hypotheses/*.jsonl in it")
    if model and model not in found:
        raise UnknownName(f"model of {folder}", model, found)
    if not model and len(found) > 1:
        raise AskdError(f"{folder} has hypotheses of several models: say {' or '.join(f'{folder}:{name}' for name in found)}")
    return found[model or next(iter(found))]


def compare(rows_a: Sequence[Mapping], rows_b: Sequence[Mapping], resamples: int = 10_000, seed: int = 0) -> dict:
    """Differences of two models on the utterances that both have, for JSON; rates in percent, undefined ones None.

    Args:
        rows_a, rows_b: hypothesis rows, in any order.
        resamples, seed: of the bootstrap.

    Returns:
        scorer, unit, utterances, only_a, only_b (how many were left out), resamples, seed;
        domains: ``{name: {split, utterances, words, wer: D, cer: ...}}`` with D = {a, b, difference, ci95, p}, and p_holm
        in that of ``wer``; means: the same over in_domain, out_of_domain (of declared domains) and all;
        changed: a_worse and b_worse, the utterances whose number of errors differs, the largest difference first.

    Raises:
        AskdError: nothing in common, an utterance twice in one model, or two references of one utterance; the first is named.
    """
    rows_a, rows_b, only_a, only_b = _paired(rows_a, rows_b)
    draws = Draws(rows_a, resamples, seed)
    counts = [_counts(rows) for rows in (rows_a, rows_b)]

    def of(measure: str, domains: Sequence[str]) -> tuple[Estimate, Estimate]:
        one, two = (draws.ratio(*model[measure], domains) for model in counts)
        return one, two

    words = counts[0]["wer"][1]
    domains = {
        name: {"utterances": len(mine), "words": int(words[mine].sum())} | {m: _difference(*of(m, [name])) for m in MEASURES}
        for name, mine in draws.places.items()
    }
    adjusted = holm({name: row["wer"]["p"] for name, row in domains.items() if row["wer"]["p"] is not None})
    for name, row in domains.items():
        row["wer"]["p_holm"] = adjusted.get(name)
    splits = {name: all_domains()[name].split if name in all_domains() else None for name in domains}
    means = {
        split: {"domains": len(chosen)} | {m: _difference(*of(m, chosen)) for m in MEASURES}
        for split, chosen in by_split(domains, splits).items()
    }
    return {
        "scorer": scorer_name(), "unit": "percent", "utterances": len(rows_a), "only_a": only_a, "only_b": only_b,
        "resamples": resamples, "seed": seed, "domains": {d: {"split": splits[d], **row} for d, row in domains.items()},
        "means": means, "changed": _changed(rows_a, rows_b, [model["wer"][0] for model in counts], words),
    }


def _paired(rows_a, rows_b) -> tuple[list[Mapping], list[Mapping], int, int]:
    """The rows of both on the utterances that both have, in the order of A, and how many only one has."""
    by_key: list[dict] = []
    for rows, name in ((rows_a, "A"), (rows_b, "B")):
        by_key.append({(row["domain"], row["id"]): row for row in rows})
        if len(by_key[-1]) < len(rows):
            (domain, id), _ = Counter((row["domain"], row["id"]) for row in rows).most_common(1)[0]
            raise AskdError(f"{name}: utterance {id} of {domain} is there more than once; ids must be unique within a domain")
    in_a, in_b = by_key
    both = [key for key in in_a if key in in_b]
    if not both:
        there = [", ".join(dict.fromkeys(str(key[0]) for key in keys)) or "nothing" for keys in by_key]
        raise AskdError(f"A and B have no utterance (domain and id) in common: domains of A are {there[0]}; of B {there[1]}")
    for domain, id in both:
        texts = [keys[domain, id]["reference"] for keys in by_key]
        if normalise(texts[0]) != normalise(texts[1]):
            said = " and ".join(repr(textwrap.shorten(text, 60, placeholder=" ...")) for text in texts)
            raise AskdError(f"utterance {id} of {domain} has two references, {said}: A and B heard different data")
    return [in_a[key] for key in both], [in_b[key] for key in both], len(in_a) - len(both), len(in_b) - len(both)


def _counts(rows: Sequence[Mapping]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Measure -> numerator and denominator of each utterance."""
    texts = [row["reference"] for row in rows], [row["hypothesis"] for row in rows]
    found = word_errors(*texts)
    parts = {"wer": found.errors, "sub": found.sub, "del": found.dele, "ins": found.ins}
    return {name: (part, found.words) for name, part in parts.items()} | {"cer": char_errors(*texts)}


def _difference(a: Estimate, b: Estimate) -> dict:
    difference = a - b
    if (found := difference.rounded()) is None:
        return dict.fromkeys(("a", "b", "difference", "ci95", "p"))
    return {"a": round(a.point, 3), "b": round(b.point, 3), "difference": found["value"], "ci95": found["ci95"],
            "p": round(difference.p_value(), 5)}


def _changed(rows_a, rows_b, errors: Sequence[np.ndarray], words: np.ndarray) -> dict[str, list[dict]]:
    more = errors[0] - errors[1]
    order = {"a_worse": np.argsort(-more, kind="stable"), "b_worse": np.argsort(more, kind="stable")}
    return {
        name: [
            {
                "domain": rows_a[i]["domain"], "id": rows_a[i]["id"], "words": int(words[i]), "errors_a": int(errors[0][i]),
                "errors_b": int(errors[1][i]), "reference": rows_a[i]["reference"], "a": rows_a[i]["hypothesis"],
                "b": rows_b[i]["hypothesis"],
            }
            for i in places if (more[i] > 0 if name == "a_worse" else more[i] < 0)
        ]
        for name, places in order.items()
    }


def as_text(found: Mapping, a: str, b: str, changed: int = 10) -> str:
    """What `compare` found, to read: at most 100 columns, the utterances that changed most at the end.

    Args:
        found: from `compare`.
        a, b: how the models are called.
        changed: how many utterances of each direction.
    """
    lines = []
    if found["only_a"] or found["only_b"]:
        lines += [f"LEFT OUT: utterances that only A has: {found['only_a']}; that only B has: {found['only_b']}", ""]
    lines += textwrap.wrap(found["scorer"], WIDTH)
    lines += [f"A = {a}", f"B = {b}"]
    lines += textwrap.wrap(f"{found['utterances']:,} utterances; 95 % CI and p from {found['resamples']:,} paired resamples; "
                           "p Holm: adjusted over the domains", WIDTH)
    lines += ["", _line("WER", "utts", "words", "A", "B", "A - B", "95 % CI", "p", "p Holm")]
    for name, row in found["domains"].items():
        lines.append(_line(name, f"{row['utterances']}", f"{row['words']}", *_cells(row["wer"]), _p(row["wer"]["p_holm"])))
    for split, row in found["means"].items():
        lines.append(_line(SPLITS[split], "", "", *_cells(row["wer"])))
    lines += ["", _line("means of", "", "", "A", "B", "A - B", "95 % CI", "p")]
    for measure, name in MEASURES.items():
        for split, row in found["means"].items():
            if measure != "wer":
                lines.append(_line(f"{name}, {split.replace('_', '-')}", "", "", *_cells(row[measure])))
    lines.append("")
    for split, row in found["means"].items():
        if row["wer"]["difference"] is not None:
            said = in_words(row["wer"]["difference"], row["wer"]["ci95"], a, b, p=row["wer"]["p"])
            lines += textwrap.wrap(f"{SPLITS[split]}: {said}", WIDTH, subsequent_indent="  ")
    lines += textwrap.wrap(_told_apart(found), WIDTH, subsequent_indent="  ")
    for worse, better in (("a", "b"), ("b", "a")):
        utterances = found["changed"][f"{worse}_worse"]
        first = f", the first {changed}:" if len(utterances) > changed > 0 else ""
        lines += ["", f"utterances in which {worse.upper()} has more errors than {better.upper()}: {len(utterances)}{first}"]
        for utterance in utterances[:changed]:
            lines += _shown(utterance)
    if changed and any(found["changed"].values()):
        lines += ["", "**word**: not in the reference there; [word]: left out; (x9): so many times in a row; ...: cut here"]
    return "\n".join(lines)


def _line(name: str, utterances: str, words: str, a: str, b: str, difference: str, ci: str, p: str, p_holm: str = "") -> str:
    name = name if len(name) <= 28 else name[:27] + "~"
    return f"{name:28} {utterances:>5} {words:>6} {a:>6} {b:>6} {difference:>7} {ci:>18} {p:>6} {p_holm:>6}".rstrip()


def _cells(found: Mapping) -> list[str]:
    if found["difference"] is None:
        return ["-"] * 5
    low, high = found["ci95"]
    ci = f"[{_signed(low)}, {_signed(high)}]"
    return [f"{found['a']:.2f}", f"{found['b']:.2f}", _signed(found["difference"]), ci, _p(found["p"])]


def _signed(value: float) -> str:
    return f"{round(value, 2) + 0.0:+.2f}"  # no negative zero


def _p(p: float | None) -> str:
    return "-" if p is None else f"{p:.4f}"


def _told_apart(found: Mapping) -> str:
    """Which single domains differ after Holm's adjustment."""
    names = {"A has fewer errors": [], "B has fewer errors": []}
    for name, row in found["domains"].items():
        if row["wer"]["p"] is not None and row["wer"]["p_holm"] < LEVEL:
            names["A has fewer errors" if row["wer"]["difference"] < 0 else "B has fewer errors"].append(name)
    said = "; ".join(f"{what} in {', '.join(where)}" for what, where in names.items() if where)
    return f"single domains, p Holm below {LEVEL}: {said or 'none'}"


def _shown(found: Mapping) -> list[str]:
    """One utterance: errors, reference, and both hypotheses with their errors marked."""
    one, two = align([found["reference"]] * 2, [found["a"], found["b"]])
    wrong = [any(mark for alignment in (one, two) for mark, _ in _at(alignment, i)) for i in range(len(one.reference) + 1)]
    near = [len(wrong) <= LONG or any(wrong[max(0, i - NEAR) : i + NEAR + 1]) for i in range(len(wrong))]
    texts = {
        "ref": [[("", word)] for word in one.reference] + [[]],
        "A": [_at(one, i) for i in range(len(wrong))],
        "B": [_at(two, i) for i in range(len(wrong))],
    }
    counts = f"errors A {found['errors_a']}, B {found['errors_b']}; words {found['words']}"
    lines = textwrap.wrap(f"  {found['domain']}, {found['id']}: {counts}", WIDTH, subsequent_indent="  ")
    for name, places in texts.items():
        text = _marked(places, near) or "(nothing)"
        lines += textwrap.wrap(text, WIDTH, initial_indent=f"    {name:5}", subsequent_indent=" " * 9, max_lines=LINES,
                               placeholder=" ...", break_on_hyphens=False)
    return lines


def _at(found: Alignment, i: int) -> list[tuple[str, str]]:
    """(mark, word) of what was written before and for reference word i: ``**`` wrong or extra, ``[`` left out."""
    pieces = [("**", word) for word in found.inserted[i]]
    if i < len(found.reference):
        said, heard = found.reference[i], found.heard[i]
        pieces.append(("[", said) if heard is None else ("" if heard == said else "**", heard))
    return pieces


def _marked(places: Sequence[Sequence[tuple[str, str]]], near: Sequence[bool]) -> str:
    """The places that are shown, three dots for those between, marks around whole stretches of words."""
    pieces = []
    for i, place in enumerate(places):
        pieces += place if near[i] else [("", "...")] if i == 0 or near[i - 1] else []
    out = []
    for mark, stretch in itertools.groupby(pieces, lambda piece: piece[0]):
        words = [word for _, word in stretch]
        text = " ".join(_folded(words) if mark == "**" else words)
        out.append({"": text, "**": f"**{text}**", "[": f"[{text}]"}[mark])
    return " ".join(out)


def _folded(words: Sequence[str], longest: int = 30) -> list[str]:
    """A phrase of up to ``longest`` words that comes three times or more in a row is written once, with their number.

    >>> _folded("no thank you thank you thank you all".split())
    ['no', 'thank you (x3)', 'all']
    """
    out, i = [], 0
    while i < len(words):
        for n in range(1, longest + 1):
            phrase, times = words[i : i + n], 1
            while words[i + times * n : i + (times + 1) * n] == phrase:
                times += 1
            if times >= 3:
                out.append(f"{' '.join(phrase)} (x{times})")
                i += times * n
                break
        else:
            out.append(words[i])
            i += 1
    return out
