"""Sentences without end: templates with slots (names, numbers, dates, amounts, addresses), as they are spoken.

    from askd.grammar import grammar_sentence, sentence_at

    grammar_sentence(7)              # the eighth sentence of seed 0
    sentence_at(7, "train", seed=3)  # the eighth of the training split

Sentence ``number`` is a pure function of (number, seed), and two numbers below `unique_below` never give the same
sentence of a seed, by construction and not by looking back. With n templates, template t having M_t texts:

    block, place = divmod(number, n)
    t = pi_block(place)              pi: permutation of 0 .. n-1, another one for each block
    text = T_t[rho_t(block)]         rho: permutation of 0 .. M_t-1, while block < M_t

Text T_t[i] fills the slots with the digits of ``i`` in mixed radix, the size of a slot being its base.

``data/grammar.yaml`` has ``slots`` (a name and its entries) and ``templates`` (a list for each topic). Entries and
templates alike may hold slots:

    {town}                           one of the entries of slot ``town``
    {2..59}  {10..90 by 5}           a whole number in words (num2words), ends included
    {1..28 ordinal}  {1950..2024 year}
    a(n)                             "a" or "an", by the sound that follows

The first letter of a sentence is made a capital.
"""

import bisect
import functools
import hashlib
import itertools
import math
import re
from collections.abc import Iterable
from pathlib import Path

from askd.errors import AskdError, pick
from askd.files import data_dir
from askd.sentences import SPLITS, sentences, split_of, topics

MIN_TEXTS = 10**7  # of each template, ours
TRIES = 512  # numbers set aside for a position: none of them is of the smallest split with probability 0.94^512 = 2e-14

_SLOT = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)(?: by (\d+))?(?: (cardinal|ordinal|year))?")
_SPEAKABLE = re.compile(r"(?:[A-Za-z ',.?!-]|[Aa]\(n\))*")
_ARTICLE = re.compile(r"\b([Aa])\(n\) (\w+)")
_VOWEL = re.compile(r"(?!eu|ewe|uni|uri|use|usu|uti|one\b|once\b)[aeiou]|heir|honest|honor|hour", re.IGNORECASE)
_OF_SENTENCE = re.compile(r".*[.?!]")


class Numbers:
    """A range of whole numbers; text ``i`` is the ``i``-th in words."""

    def __init__(self, first: int, last: int, step: int = 1, kind: str = "cardinal"):
        self.range, self.kind = range(first, last + 1, step), kind
        self.count = len(self.range)

    def text(self, i: int) -> str:
        return _spoken(self.range[i], self.kind)


class Phrase:
    """Words with slots between them; text ``i`` has the digits of ``i`` in the slots."""

    def __init__(self, words: list[str], slots: list):
        self.words, self.slots = words, slots  # one slot fewer than words
        self.count = math.prod(slot.count for slot in slots)

    def text(self, i: int) -> str:
        parts = [self.words[0]]
        for slot, words in zip(self.slots, self.words[1:], strict=True):
            i, digit = divmod(i, slot.count)
            parts += slot.text(digit), words
        return "".join(parts)


class Choice:
    """The entries of a slot; its texts are those of the first entry, then those of the second, and so on."""

    def __init__(self, entries: list[Phrase]):
        self.entries = entries
        *self.starts, self.count = itertools.accumulate((entry.count for entry in entries), initial=0)

    def text(self, i: int) -> str:
        entry = bisect.bisect_right(self.starts, i) - 1
        return self.entries[entry].text(i - self.starts[entry])


@functools.lru_cache(maxsize=50_000)
def _spoken(number: int, kind: str) -> str:
    try:
        from num2words import num2words
    except ImportError:
        raise AskdError("the grammar writes numbers with num2words: pip install 'askd[speech]'") from None
    return num2words(number, to=kind).replace(",", "")


class _Loader:
    def __init__(self, path: Path, slots: dict):
        self.path, self.raw, self.built, self.open = path, slots, {}, []

    def phrase(self, text: object, where: str) -> Phrase:
        """A template or an entry, its slots looked up.

        Raises:
            AskdError: not text, not speakable, or an unknown or empty slot.
        """
        where = f"{self.path}: {where}"
        if not isinstance(text, str) or not text.strip():
            raise AskdError(f"{where} is not text; write words, in quotes")
        words, names = _SLOT.split(text)[::2], _SLOT.split(text)[1::2]
        bad = [piece for piece in words if not _SPEAKABLE.fullmatch(piece)]
        if bad or text != " ".join(text.split()):
            raise AskdError(
                f"{where} cannot be spoken as it stands: write letters, single spaces and ' , . ? ! - alone, numbers as "
                "{2..59} and slots as {town}"
            )
        return Phrase(words, [self.slot(name, where) for name in names])

    def slot(self, name: str, where: str) -> Numbers | Choice:
        """The slot of this name; a range of numbers is its own name."""
        if match := _RANGE.fullmatch(name):
            first, last, step, kind = match.groups()
            if int(first) > int(last) or step == "0":
                raise AskdError(f"{where}: range {{{name}}} is empty; write the smaller number first and a step of at least 1")
            return Numbers(int(first), int(last), int(step or 1), kind or "cardinal")
        entries = pick(f"slot in {where}:", name, self.raw)
        if name in self.open:
            raise AskdError(f"{where}: slot {name!r} holds itself ({' > '.join([*self.open, name])}); take one of them out")
        if name not in self.built:
            self.built[name] = self._choice(name, entries)
        return self.built[name]

    def _choice(self, name: str, entries: object) -> Choice:
        if not isinstance(entries, list) or not entries:
            raise AskdError(f"{self.path}: slot {name!r} has no entries; list at least one, or take the slot out")
        self.open.append(name)
        choice = Choice([self.phrase(entry, f"slot {name!r}, entry {entry!r}") for entry in entries])
        self.open.pop()
        if twice := _twice(_words(entry) if "{" not in entry else entry for entry in entries):
            raise AskdError(f"{self.path}: slot {name!r} has {twice!r} twice; different choices must give different text")
        return choice


def _words(text: str) -> str:
    """What `split_of` looks at."""
    return re.sub(r"[^a-z ]", "", text.lower()).strip()


def _twice(items: Iterable[str]) -> str | None:
    seen = set()
    return next((item for item in items if item in seen or seen.add(item)), None)


@functools.cache
def load_grammar(path: Path | str | None = None) -> tuple[Phrase, ...]:
    """The templates of a grammar, topic by topic, with at least `MIN_TEXTS` texts each.

    Args:
        path: the file; default ``data/grammar.yaml``.

    Raises:
        AskdError: the file cannot be read, or something in it does not fit; names file, template or slot, and the way out.
    """
    import yaml

    path = Path(path or data_dir() / "grammar.yaml")
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise AskdError(f"{path}: cannot be read as YAML in UTF-8: {error}") from None
    parts = [raw.get(part) if isinstance(raw, dict) else None for part in ("slots", "templates")]
    if not all(isinstance(part, dict) and part for part in parts) or not all(isinstance(t, list) for t in parts[1].values()):
        raise AskdError(f"{path}: needs 'slots' (name: list of entries) and 'templates' (topic: list of sentences)")
    loader = _Loader(path, parts[0])
    texts = list(itertools.chain.from_iterable(parts[1].values()))
    templates = []
    for text in texts:
        templates.append(template := loader.phrase(text, f"template {text!r}"))
        if not _OF_SENTENCE.fullmatch(text):
            raise AskdError(f"{path}: template {text!r} must end in . ? or !")
        if template.count < MIN_TEXTS:
            raise AskdError(
                f"{path}: template {text!r} has {template.count:,} texts and needs {MIN_TEXTS:,}, or sentences would soon "
                "come again; add a slot or entries"
            )
    if twice := _twice(texts):
        raise AskdError(f"{path}: template {twice!r} stands there twice; take one out")
    for name in parts[0]:
        loader.slot(name, str(path))
    return tuple(templates)


def shuffled(i: int, size: int, key: str) -> int:
    """Where a permutation of ``0 .. size-1``, chosen by ``key``, sends ``i``: four rounds of a Feistel network.

    (l, r) -> (r, (l + H(key, round, r)) mod s) on the square of side s = ceil(sqrt(size)), again while the result lies
    outside ``size``. Each round can be undone, so no two ``i`` meet.
    """
    side = math.isqrt(size - 1) + 1
    while True:
        left, right = divmod(i, side)
        for turn in range(4):
            drawn = hashlib.blake2b(f"{key}/{turn}/{right}".encode(), digest_size=16).digest()
            left, right = right, (left + int.from_bytes(drawn, "little")) % side
        i = left * side + right
        if i < size:
            return i


def unique_below(path: Path | str | None = None) -> int:
    """Numbers below this one give different sentences: templates times the texts of the smallest one."""
    templates = load_grammar(path)
    return len(templates) * min(template.count for template in templates)


def positions(path: Path | str | None = None) -> int:
    """Positions below this one give different sentences in `sentence_at`."""
    return unique_below(path) // TRIES


def grammar_sentence(number: int, seed: int = 0, path: Path | str | None = None) -> str:
    """Sentence ``number`` of a seed, whatever was asked before.

    Args:
        number: at least 0; from `unique_below` on, sentences may come again.
        seed: another order of the same texts.
        path: as in `load_grammar`.

    Raises:
        AskdError: a negative number, or a grammar that does not fit.
    """
    if number < 0:
        raise AskdError(f"sentences are numbered from 0: there is none with number {number}")
    templates = load_grammar(path)
    block, place = divmod(number, len(templates))
    which = shuffled(place, len(templates), f"{seed}/{block}")
    template = templates[which]
    lap, i = divmod(block, template.count)
    text = template.text(shuffled(i, template.count, f"{seed}/{which}/{lap}"))
    text = _ARTICLE.sub(lambda match: f"{match[1]}{'n' if _VOWEL.match(match[2]) else ''} {match[2]}", text)
    return text[0].upper() + text[1:]


@functools.cache
def _written() -> frozenset[str]:
    return frozenset(_words(text) for topic in topics() for text in sentences(topic))


def sentence_at(position: int, split: str, seed: int = 0) -> str:
    """The sentence of a split at a position of an endless stream: never a written one, never twice for a seed.

    The first of ``grammar_sentence(position + k * positions())``, k = 0, 1, ..., that `split_of` puts into the split. As
    these numbers belong to no other position, no sentence comes twice below `positions`.

    Args:
        position: at least 0; from `positions` on, sentences may come again.
        split: ``train``, ``dev`` or ``test``.
        seed: as in `grammar_sentence`.

    Raises:
        UnknownName: no such split.
        AskdError: a negative position.
    """
    pick("split", split, SPLITS)
    texts = (grammar_sentence(number, seed) for number in itertools.count(position, positions()))
    return next(text for text in texts if split_of(text) == split and _words(text) not in _written())
