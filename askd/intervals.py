r"""Intervals for everything that is measured on utterances: one set of resamples, shared by all models and metrics.

    draws = Draws(rows)                                       # rows give domain and speaker of each utterance
    teacher = draws.ratio(errors["teacher"], words)           # macro WER in percent
    student = draws.ratio(errors["askd"], words)
    difference = student - teacher                            # paired: both heard the same resamples
    print(in_words(difference.point, difference.ci(), "ASKD", "the teacher", p=difference.p_value()))

Bootstrap (Bisani & Ney 2004), stratified by domain: in each resample every domain keeps its number of blocks, drawn with
replacement. A block is a speaker where a domain has at least ``MIN_BLOCKS`` of them, since a speaker's utterances are not
independent (Liu & Peng, arXiv 1912.09508), else an utterance. Our synthetic domains have two to sixteen voices: where there are
fewer than ten, an interval speaks of new utterances by the same voices.

With S training seeds the mean over seeds moves as well, by Student's t with S - 1 degrees of freedom times its standard error,
for all methods by the same draws, so that differences stay paired. Seeds themselves are not resampled: means of two to five take
few values, and their percentiles hold the truth too rarely.
"""

import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

MIN_BLOCKS = 10  # fewer speakers cannot stand for a population; utterances are resampled instead. Ours
CHUNK = 512  # resamples drawn at once: their indices stay in the processor's cache


@dataclass(frozen=True)
class Estimate:
    """A number and what it would have been on other utterances; undefined is NaN."""

    point: float
    samples: np.ndarray  # (R,)
    blocks: int = 1_000_000  # that were resampled; few of them bound the p-value from below

    def __sub__(self, other: "Estimate") -> "Estimate":
        """The paired difference; both must come from the same `Draws`."""
        with np.errstate(invalid="ignore"):  # what is undefined in either is so in the difference
            return Estimate(self.point - other.point, self.samples - other.samples, min(self.blocks, other.blocks))

    def ci(self, level: float = 0.95) -> tuple[float, float]:
        """Percentile interval over the resamples in which the number is defined; NaN without any."""
        known = self.samples[np.isfinite(self.samples)]
        if not np.isfinite(self.point) or not len(known):
            return float("nan"), float("nan")
        low, high = np.percentile(known, [50 * (1 - level), 50 * (1 + level)])
        return float(low), float(high)

    def p_value(self) -> float:
        """Two-sided: twice the smaller of P(sample <= 0) and P(sample >= 0); counts plus one (Davison & Hinkley 1997).

        At least 2^(1 - n) of n blocks, the smallest that signs of n differences can give: five utterances prove nothing, though
        all their resamples lie on one side.
        """
        known = self.samples[np.isfinite(self.samples)]
        if not np.isfinite(self.point) or not len(known):
            return 1.0
        tail = min((known <= 0).sum(), (known >= 0).sum())
        return float(min(1.0, max(2 * (tail + 1) / (len(known) + 1), 2.0 ** (1 - min(self.blocks, 99)))))

    def rounded(self, digits: int = 3) -> dict | None:
        """``{"value": ..., "ci95": [low, high]}`` for JSON; None when undefined."""
        low, high = self.ci()
        if not np.isfinite(low):
            return None
        return {"value": round(float(self.point), digits), "ci95": [round(low, digits), round(high, digits)]}


class Draws:
    """Which utterances each resample holds. The same seed and rows give the same resamples."""

    def __init__(self, rows: Sequence[Mapping], resamples: int = 10_000, seed: int = 0):
        """
        Args:
            rows: of any model: ``domain`` and ``speaker`` of each utterance, in the order of all values given later.
            resamples: R. Default 10,000.
            seed: of the resampling; nothing to do with training.
        """
        if resamples < 1 or not rows:
            raise ValueError(f"{resamples} resamples of {len(rows)} utterances: give at least one of both")
        names = np.array([row["domain"] for row in rows], dtype=object)
        speakers = np.array([row["speaker"] for row in rows], dtype=object)
        self.n, self.resamples, self.seed = len(rows), resamples, seed
        self.utterances = [(row["domain"], row.get("id")) for row in rows]
        self.places: dict[str, np.ndarray] = {}  # domain -> positions of its utterances
        self._blocks: dict[str, np.ndarray] = {}  # domain -> block of each of them
        self._counts: dict[str, np.ndarray] = {}  # domain -> (R, blocks) uint8, how often each block was drawn
        for domain in dict.fromkeys(names.tolist()):
            mine = np.flatnonzero(names == domain)
            blocks = np.unique(speakers[mine].astype(str), return_inverse=True)[1]
            if blocks.max() + 1 < MIN_BLOCKS:
                blocks = np.arange(len(mine))
            self.places[domain], self._blocks[domain] = mine, blocks
            rng = np.random.default_rng([seed, zlib.crc32(str(domain).encode())])  # whatever other domains there are
            self._counts[domain] = _draw(rng, int(blocks.max()) + 1, resamples)

    def _chosen(self, domains: Collection[str] | None) -> list[str]:
        return [d for d in self.places if domains is None or d in domains]

    def _domain_sums(self, domain: str, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Sums over the utterances of one domain: (k,) and (R, k)."""
        mine, blocks = values[self.places[domain]], self._blocks[domain]
        by_block = np.zeros((int(blocks.max()) + 1, values.shape[1]))
        np.add.at(by_block, blocks, mine)
        counts = self._counts[domain]
        samples = np.empty((self.resamples, values.shape[1]))
        for start in range(0, self.resamples, CHUNK):
            samples[start : start + CHUNK] = counts[start : start + CHUNK].astype(np.float32) @ by_block
        return mine.sum(0), samples

    def blocks(self, domains: Collection[str] | None = None) -> int:
        """How many utterances, or speakers, are resampled in some domains."""
        return sum(self._counts[domain].shape[1] for domain in self._chosen(domains))

    def sums(self, values: np.ndarray, domains: Collection[str] | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Sums over all utterances of some domains.

        Args:
            values: (n, k) per utterance, or (n,).
            domains: default all.

        Returns:
            the sums (k,), and those of each resample (R, k).

        Raises:
            ValueError: not a row for each utterance.
        """
        values = np.asarray(values, float)
        if values.ndim not in (1, 2) or len(values) != self.n:
            raise ValueError(f"values of shape {values.shape} for {self.n} utterances: give (n, k)")
        values = values.reshape(self.n, -1)
        point, samples = np.zeros(values.shape[1]), np.zeros((self.resamples, values.shape[1]))
        for domain in self._chosen(domains):
            p, s = self._domain_sums(domain, values)
            point, samples = point + p, samples + s
        return point, samples

    def total(self, values: np.ndarray, domains: Collection[str] | None = None) -> np.ndarray:
        """The point of `sums` alone, (k,)."""
        return np.asarray(values, float)[np.concatenate([self.places[d] for d in self._chosen(domains)])].sum(0)

    def weights(self, domains: Collection[str] | None = None) -> np.ndarray:
        """How often each utterance is in each resample, (R, n) float32; zero outside the domains."""
        out = np.zeros((self.resamples, self.n), np.float32)
        for domain in self._chosen(domains):
            out[:, self.places[domain]] = self._counts[domain][:, self._blocks[domain]]
        return out

    def ratio(
        self, numerator: np.ndarray, denominator: np.ndarray, domains: Collection[str] | None = None, pooled: bool = False,
        scale: float = 100.0,
    ) -> Estimate:
        """``scale`` times a ratio of sums: WER, a rate, a share.

        Args:
            numerator, denominator: per utterance (n,), or (S, n) of S training seeds.
            domains: default all.
            pooled: one ratio over all utterances, instead of the unweighted mean of the domains' ratios (macro).
            scale: 100 gives percent.

        Returns:
            NaN when every denominator is zero; domains whose denominator is zero are left out of the macro.

        Raises:
            ValueError: not a value for each utterance.
        """
        numerator, denominator = np.asarray(numerator, float), np.asarray(denominator, float)
        if {numerator.shape[-1:], denominator.shape[-1:]} != {(self.n,)}:
            raise ValueError(f"shapes {numerator.shape} and {denominator.shape} for {self.n} utterances: give (n,) or (S, n)")
        if numerator.ndim == 1 and denominator.ndim == 1:
            return self._ratio(numerator, denominator, domains, pooled, scale)
        numerator, denominator = np.broadcast_arrays(numerator, denominator)
        return self.over_seeds([self._ratio(a, b, domains, pooled, scale) for a, b in zip(numerator, denominator, strict=True)])

    def _ratio(self, numerator, denominator, domains, pooled: bool, scale: float) -> Estimate:
        values = np.stack([numerator, denominator], 1)
        with np.errstate(divide="ignore", invalid="ignore"):
            if pooled:
                point, samples = self.sums(values, domains)
                return Estimate(float(scale * point[0] / point[1]), scale * samples[:, 0] / samples[:, 1], self.blocks(domains))
            parts = [self._domain_sums(domain, values) for domain in self._chosen(domains)]
            parts = [(p, s) for p, s in parts if p[1] > 0]
            if not parts:
                return Estimate(float("nan"), np.full(self.resamples, np.nan))
            point = np.mean([p[0] / p[1] for p, _ in parts])
            ratios = np.array([s[:, 0] / s[:, 1] for _, s in parts])  # (domains, R); a resample may hold no word of a domain
        known = np.isfinite(ratios)
        samples = np.where(known, ratios, 0).sum(0) / np.where(known.any(0), known.sum(0), np.nan)
        return Estimate(float(scale * point), scale * samples, self.blocks(domains))

    def over_seeds(self, estimates: Sequence[Estimate]) -> Estimate:
        """The mean over training seeds of one method, with the variance of both seeds and utterances.

            m_r + tau_r sum_s g_rs (x_rs - m_r) / sqrt(S (S - 1))      m_r: mean over seeds in resample r

        with g standard normal and tau = sqrt((S - 1) / chi2 of S - 1), the same for every method. A little too wide where
        utterances decide: what a seed does to single utterances is in both terms.

        Args:
            estimates: one a seed, seeds in the same order for every method, all from these draws.
        """
        s = len(estimates)
        if s == 1:
            return estimates[0]
        rng = np.random.default_rng([self.seed, s])
        g = rng.standard_normal((self.resamples, s))
        tau = np.sqrt((s - 1) / rng.chisquare(s - 1, self.resamples))
        of_seed = np.array([e.samples for e in estimates]).T  # (R, S)
        mean = of_seed.mean(1)
        moved = tau * (g * (of_seed - mean[:, None])).sum(1) / np.sqrt(s * (s - 1))
        return Estimate(float(np.mean([e.point for e in estimates])), mean + moved, min(e.blocks for e in estimates))


def _draw(rng: np.random.Generator, n: int, resamples: int) -> np.ndarray:
    """How often each of n blocks is drawn in each resample, (R, n) uint8 (nobody is drawn 256 times)."""
    counts = np.empty((resamples, n), np.uint8)
    for start in range(0, resamples, CHUNK):
        rows = min(CHUNK, resamples - start)
        drawn = rng.integers(n, size=(rows, n), dtype=np.int32) + (np.arange(rows, dtype=np.int32) * n)[:, None]
        counts[start : start + rows] = np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n)
    return counts


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Holm's step-down adjustment (Holm 1979): the i-th smallest of m is multiplied by m - i, kept in order, at most 1.

    >>> holm({"a": 0.01, "b": 0.04, "c": 0.03})
    {'a': 0.03, 'b': 0.06, 'c': 0.06}
    """
    adjusted, highest = {}, 0.0
    for i, (name, p) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        highest = max(highest, min(1.0, (len(p_values) - i) * p))
        adjusted[name] = round(highest, 12)
    return {name: adjusted[name] for name in p_values}


def in_words(delta: float, ci95: Sequence[float], a: str, b: str, less: str = "makes fewer errors than",
             more: str = "makes more errors than", unit: str = "points", digits: int = 2, p: float | None = None) -> str:
    """What the interval of ``a`` minus ``b`` allows one to say; with the p-value also whether there is enough to say it.

    >>> in_words(-1.0, [-2.9, 0.9], "ASKD", "CE only")
    'ASKD and CE only cannot be told apart: between 2.90 points fewer and 0.90 more (-1.00, 95 % CI [-2.90, +0.90])'

    >>> in_words(-5.2, [-7.4, -2.2], "ASKD", "constant KD", digits=1)
    'ASKD makes fewer errors than constant KD (-5.2 points, 95 % CI [-7.4, -2.2])'
    """
    if not np.isfinite(delta):
        return f"{a} and {b} cannot be compared: there is nothing to count"
    low, high = (0.0 if end == 0 else end for end in ci95)  # no "-0.00"
    interval = f"95 % CI [{low:+.{digits}f}, {high:+.{digits}f}]"
    if low == high == 0:
        return f"{a} and {b} do the same here ({interval})"
    if (low > 0 or high < 0) and p is not None and p > 0.05:
        return f"too few utterances to tell {a} from {b} ({delta:+.{digits}f} {unit}, {interval}, p at least {p:.2g})"
    if low > 0 or high < 0:
        return f"{a} {more if low > 0 else less} {b} ({delta:+.{digits}f} {unit}, {interval})"
    return (f"{a} and {b} cannot be told apart: between {abs(low):.{digits}f} {unit} fewer and {high:.{digits}f} more "
            f"({delta:+.{digits}f}, {interval})")


def compared(
    of: Callable[[str, Collection[str] | None], Estimate], pairs: Sequence[tuple[str, str]],
    splits: Mapping[str, Collection[str]], measure: str, digits: int = 3,
) -> list[dict]:
    """Rows ``{a, b, split, measure, delta, ci95, p}`` of paired differences, for JSON; undefined ones are left out.

    Args:
        of: (model, domains) -> its estimate.
        pairs: (a, b): a minus b.
        splits: name -> its domains, from `by_split`.
        measure: how the number is called.
        digits: decimals.
    """
    rows = []
    for a, b in pairs:
        for split, domains in splits.items():
            difference = of(a, domains) - of(b, domains)
            if (found := difference.rounded(digits)) is not None:
                rows.append({"a": a, "b": b, "split": split, "measure": measure, "delta": found["value"],
                             "ci95": found["ci95"], "p": round(difference.p_value(), 5)})
    return rows


def by_split(
    domains: Collection[str], splits: Mapping[str, str], real: Collection[str] | None = None
) -> dict[str, list[str]]:
    """``in_domain``, ``out_of_domain`` and ``all`` -> their domains; splits without a domain are left out.

    Args:
        domains: all of them.
        splits: ``in_domain`` or ``out_of_domain`` by domain.
        real: those in which people speak; where there are others as well, ``real``, ``real_out_of_domain`` and ``synthetic``
            are splits too.

    >>> by_split(["a", "b"], {"a": "in_domain", "b": "in_domain"})
    {'in_domain': ['a', 'b'], 'all': ['a', 'b']}
    """
    found = {name: [d for d in domains if splits[d] == name] for name in ("in_domain", "out_of_domain")}
    found["all"] = list(domains)
    spoken = [d for d in domains if d in (real or ())]
    if 0 < len(spoken) < len(found["all"]):
        found["real"] = spoken
        found["real_out_of_domain"] = [d for d in spoken if splits[d] == "out_of_domain"]
        found["synthetic"] = [d for d in domains if d not in spoken]
    return {name: chosen for name, chosen in found.items() if chosen}
