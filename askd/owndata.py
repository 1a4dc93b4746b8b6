"""Your own recordings, sorted for a distillation: what is trained on, what is watched meanwhile, what is tested at the end.

    parts = own_clips(["my_recordings/", "hub:fleurs"])         # {"train": [...], "dev": [...], "test": [...]}
    print(describe(parts))
    demo_folder("runs/demo/recordings", clips=60)                # a folder as somebody would bring it

A source's own split is kept. A folder without one is split by a hash (`askd.recordings.of_role`); where that leaves fewer than
two clips to test on, and where a source has no dev or test recordings at all, they are set aside from its training clips.
"""

import csv
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from askd.clips import Clip
from askd.domains import Domain, domain_names, get_domain, load_clips, own_parts
from askd.errors import AskdError
from askd.files import digest, replacing
from askd.packages import PackageUnavailable
from askd.recordings import of_role, usable_clips
from askd.sentences import SPLITS

Parts = dict[str, list[Clip]]
HUB_CLIPS = {"train": 2000, "dev": 100, "test": 300}  # of a Hub data set when nobody says; synthetic domains get a tenth. Ours
DEV_CLIPS, TEST_CLIPS = 64, 400  # at most, of all sources together: enough to watch by and to tell a point of WER. Ours
FEWEST = 8  # recordings; with fewer there is nothing to measure. Ours
DEMO = ("asterisk_8khz", "neural_telephone")  # real recordings, and what stands in for them where there is no apt


def own_clips(
    names: Sequence[str], train_clips: int | None = None, seed: int = 0, skip_bad: bool = False, progress: bool = False, **options
) -> Parts:
    """Training, dev and test clips of several sources, every one of them decoded once.

    Args:
        names: folders, ``hub:ID`` or declared domains. A source without training recordings is only tested on.
        train_clips: at most so many of each source; None is all of a folder, `HUB_CLIPS` of a Hub data set.
        seed, skip_bad, progress: as in `askd.load_clips`.
        options: ``audio_root``, ``layout``, ``casing`` of `askd.load_clips`.

    Raises:
        UnknownName: a source that does not exist.
        ManifestError, AudioError: a recording that cannot be used, named.
        AskdError: too little to train on, two sources of one name, or a language other than English.
    """
    domains = [get_domain(name) for name in names]
    if len({domain.name for domain in domains}) < len(domains):
        raise AskdError(f"two of {', '.join(names)} have the same name: rename one, so that the tables can tell them apart")
    if not any({"train", "all"} & set(domain.roles) for domain in domains):
        raise AskdError(f"{', '.join(names)}: no training recordings: add a folder of your own, or a corpus with a train split")
    parts: Parts = {role: [] for role in SPLITS}
    for domain in domains:
        if not domain.language.lower().startswith("en"):
            raise AskdError(f"{domain.name} is in {domain.language!r}: prompts and scoring of this project are English")
        found = _parts_of(domain, train_clips, {"seed": seed, "skip_bad": skip_bad, "progress": progress, **options})
        for role in SPLITS:
            parts[role] += found[role]
    if not parts["train"] or not parts["test"]:
        counts = f"{len(parts['train'])} recordings to train on and {len(parts['test'])} to test on"
        raise AskdError(f"{', '.join(names)}: {counts}: bring some of both, or a folder without a split")
    parts["dev"], parts["test"] = evenly(parts["dev"], DEV_CLIPS), evenly(parts["test"], TEST_CLIPS)
    if not skip_bad:  # with it, they have been decoded already
        for role, clips in parts.items():
            usable_clips(clips, _decoded, what=f"decode {role}", progress=progress, total=len(clips))
    return parts


def _decoded(clip: Clip) -> Clip:
    clip.samples()
    return clip


def _parts_of(domain: Domain, train_clips: int | None, options: dict) -> Parts:
    limits = dict.fromkeys(SPLITS)
    if domain.source in ("hub", "synthetic"):
        limits = {role: n // (10 if domain.source == "synthetic" else 1) for role, n in HUB_CLIPS.items()}
    limits["train"] = train_clips or limits["train"]
    if domain.path and not own_parts(domain.path):
        whole = load_clips(domain, "all", **options)
        if len(whole) < FEWEST:
            raise AskdError(
                f"{domain.name}: {len(whole)} recordings are too few to train and test on: bring at least {FEWEST}; from about "
                "a hundred on, results begin to mean something"
            )
        parts = {role: of_role(whole, role) for role in SPLITS}
        if min(map(len, parts.values())) < 2:
            parts = _set_aside({"train": whole, "dev": [], "test": []})
    else:
        parts = {role: load_clips(domain, role, limits[role], **options) if role in domain.roles else [] for role in SPLITS}
        parts = _set_aside(parts)
    parts["train"] = parts["train"][: limits["train"]]
    return parts


def _set_aside(parts: Parts) -> Parts:
    """Fill an empty dev or test part with a tenth of the training clips, at least two, chosen by a hash of their sound."""
    train = sorted(parts["train"], key=lambda clip: hashlib.sha256((clip.id + clip.sha256).encode()).hexdigest())
    count = max(2, len(train) // 10)
    for role in ("test", "dev"):
        if not parts[role] and len(train) >= FEWEST - 2:
            parts[role], train = train[:count], train[count:]
    left = {id(clip) for clip in train}
    return parts | {"train": [clip for clip in parts["train"] if id(clip) in left]}


def evenly(clips: Sequence, limit: int) -> list:
    """At most ``limit`` clips, spread over the list, so that every source keeps its share."""
    step = max(1.0, len(clips) / max(1, limit))
    return [clips[int(i * step)] for i in range(min(limit, len(clips)))]


def mixed_in(clips: int, seed: int = 0, progress: bool = False) -> list[Clip]:
    """Synthetic in-domain training clips of this project to go with few recordings; none where no speech engine is installed."""
    names = domain_names("in_domain", "synthetic")
    each = -(-clips // len(names))
    try:
        return evenly([clip for name in names for clip in load_clips(name, "train", each, seed, progress=progress)], clips)
    except (AskdError, ImportError) as error:
        print(f"no synthetic speech is mixed in ({error}): pip install 'askd[speech]'")
        return []


def amount(clips: Sequence[Clip]) -> dict:
    """Clips, minutes and speakers of a part."""
    minutes = sum(clip.audio_s for clip in clips) / 60
    return {"clips": len(clips), "minutes": round(minutes, 1), "speakers": len({(c.domain, c.speaker) for c in clips})}


def contents(parts: Mapping[str, Iterable[Clip]]) -> str:
    """Digest of every sound and transcript, by role."""
    return digest({role: [(clip.sha256, clip.text) for clip in clips] for role, clips in parts.items()})


def demo_folder(folder: Path | str, clips: int = 60) -> tuple[Path, str]:
    """Recordings as somebody would bring them: audio files and a ``metadata.csv`` of ``file_name,text,speaker``.

    Args:
        folder: made, or replaced when it holds something else.
        clips: how many, at most 300.

    Returns:
        the folder, and what the recordings are: 8 kHz prompts of a telephone exchange by a professional voice (Allison Smith for
        Asterisk, CC-BY-SA-3.0), or, where `askd.packages` cannot fetch them, a synthetic voice over a telephone.
    """
    from askd.audio import write_flac

    folder = Path(folder)
    try:
        found, about = load_clips(DEMO[0], "test", clips), "real telephone prompts (Allison Smith for Asterisk, CC-BY-SA-3.0)"
    except PackageUnavailable as error:
        found, about = load_clips(DEMO[1], "train", clips), f"synthetic speech over a telephone, since {error}"
    key = digest([(clip.sha256, clip.text) for clip in found])
    if (folder / ".made_of").is_file() and (folder / ".made_of").read_text(encoding="utf-8") == key:
        return folder, about
    with replacing(folder) as scratch:
        scratch.mkdir()
        with open(scratch / "metadata.csv", "w", encoding="utf-8", newline="") as file:
            table = csv.writer(file)
            table.writerow(["file_name", "text", "speaker"])
            for number, clip in enumerate(found):
                write_flac(scratch / f"prompt_{number:03}.flac", clip.samples())
                table.writerow([f"prompt_{number:03}.flac", clip.text, clip.speaker])
        (scratch / ".made_of").write_text(key, encoding="utf-8")
    return folder, about
