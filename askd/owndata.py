"""Your own recordings, sorted for a distillation: what is trained on, what is watched meanwhile, what is tested at the end.

    parts = own_clips(["my_recordings/", "hub:fleurs"])         # {"train": [...], "dev": [...], "test": [...]}
    print(describe(parts))
    demo_folder("runs/demo/recordings", clips=60)                # a folder as somebody would bring it

A source's own split is kept. A folder without one is split by a hash (`askd.recordings.of_role`); where that leaves fewer than
two clips to a part, and where a source has no dev or test recordings at all, they are set aside from its training clips. Both
keep a speaker, or where there are few of them a recording with all its pieces, in one part.
"""

import csv
import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from askd.clips import Clip
from askd.domains import PARTS, Domain, domain_names, get_domain, load_clips, own_parts
from askd.errors import AskdError, UnknownName
from askd.files import digest, replacing
from askd.packages import PackageUnavailable
from askd.recordings import grouped, of_role, usable_clips
from askd.sentences import SPLITS

Parts = dict[str, list[Clip]]
HUB_CLIPS = {"train": 2000, "dev": 100, "test": 300}  # of a Hub data set when nobody says; synthetic domains get a tenth. Ours
DEV_CLIPS, TEST_CLIPS = 64, 400  # at most, of all sources together: enough to watch by and to tell a point of WER. Ours
FEWEST = 8  # recordings; with fewer there is nothing to measure. Ours
DEMO = ("asterisk_8khz", "neural_telephone")  # real recordings, and what stands in for them where there is no apt


def own_clips(
    names: Sequence[str], train_clips: int | None = None, seed: int = 0, skip_bad: bool = False, progress: bool = False, **options
) -> Parts:
    """Training, dev and test clips of several sources, every one of them decoded once, no sound in two parts.

    Args:
        names: folders, ``hub:ID`` or declared domains. A source without training recordings is only tested on; the labels of
            `askd.pseudolabel` are only trained on and watched: a teacher's words cannot score it.
        train_clips: at most so many of each source, spread over it; None is all of a folder, `HUB_CLIPS` of a Hub data set.
        seed, skip_bad, progress: as in `askd.load_clips`.
        options: ``audio_root``, ``layout``, ``casing`` of `askd.load_clips`.

    Raises:
        UnknownName: a source that does not exist.
        ManifestError, AudioError: a recording that cannot be used, named.
        AskdError: too little to train or test on, two sources of one name, or a language other than English.
    """
    domains = [get_domain(name) for name in names]
    _check_sources(names, domains)
    parts: Parts = {role: [] for role in SPLITS}
    for domain in domains:
        found = _parts_of(domain, train_clips, {"seed": seed, "skip_bad": skip_bad, "progress": progress, **options})
        for role in SPLITS:
            parts[role] += found[role]
    _part_company(parts)
    if not parts["test"] and any(map(from_teacher, domains)):
        raise AskdError(f"{', '.join(names)}: nothing to test on: a teacher's own labels cannot score it; add recordings "
                        f"that people transcribed, as in --data {names[0]} my_recordings/")
    if not parts["train"] or not parts["test"]:
        counts = f"{len(parts['train'])} recordings to train on and {len(parts['test'])} to test on"
        raise AskdError(f"{', '.join(names)}: {counts}: bring some of both, or a folder without a split")
    if not parts["dev"]:
        print("no dev clips: too few speakers or recordings to set some aside; only the training loss can be watched")
    parts["dev"], parts["test"] = evenly(parts["dev"], DEV_CLIPS), evenly(parts["test"], TEST_CLIPS)
    if not skip_bad:  # with it, they have been decoded already
        for role, clips in parts.items():
            usable_clips(clips, _decoded, what=f"decode {role}", progress=progress, total=len(clips))
    return parts


def _check_sources(names: Sequence[str], domains: Sequence[Domain]) -> None:
    if len({domain.name for domain in domains}) < len(domains):
        raise AskdError(f"two of {', '.join(names)} have the same name: rename one, so that the tables can tell them apart")
    if not any({"train", "all"} & set(domain.roles) for domain in domains):
        raise AskdError(f"{', '.join(names)}: no training recordings: add a folder of your own, or a corpus with a train split")
    for domain in domains:
        if not domain.language.lower().startswith("en"):
            raise AskdError(f"{domain.name} is in {domain.language!r}: prompts and scoring of this project are English")
        path = Path(domain.path)
        if domain.path and path.stem in (*PARTS["dev"], *PARTS["test"]) and not own_parts(path):
            raise AskdError(f"{path} would be split and trained on, though it is called {path.stem}: give the folder that it "
                            "lies in, with train beside it, or rename it")


def _decoded(clip: Clip) -> Clip:
    clip.samples()
    return clip


def from_teacher(domain: Domain) -> bool:
    """Whether its transcripts are those of `askd.pseudolabel`."""
    return bool(domain.path) and Path(domain.path).is_file() and (Path(domain.path).parent / "transcripts.jsonl").is_file()


def _parts_of(domain: Domain, train_clips: int | None, options: dict) -> Parts:
    limits = dict.fromkeys(SPLITS)
    if domain.source in ("hub", "synthetic"):
        limits = {role: n // (10 if domain.source == "synthetic" else 1) for role, n in HUB_CLIPS.items()}
    limits["train"] = train_clips or limits["train"]
    labels = from_teacher(domain)
    if domain.roles == ("all",) or (domain.path and not own_parts(domain.path)):
        more = None if domain.path else sum(limits.values())
        whole = load_clips(domain, "all", more, **options)
        if len(whole) < FEWEST:
            raise AskdError(
                f"{domain.name}: {len(whole)} recordings are too few to train and test on: bring at least {FEWEST}; from about "
                "a hundred on, results begin to mean something"
            )
        parts = {role: of_role(whole, role) for role in SPLITS}
        if min(map(len, parts.values())) < 2:
            parts = set_aside({"train": whole, "dev": [], "test": []}, ("dev",) if labels else ("test", "dev"))
        if labels:
            kept = {id(clip) for clip in parts["dev"]}
            parts = {"train": [clip for clip in whole if id(clip) not in kept], "dev": parts["dev"], "test": []}
    else:
        if domain.path:
            limits["train"] = None  # all, so that what is set aside does not depend on how many are trained on
        parts = {role: _if_there(domain, role, limits[role], options) for role in SPLITS}
        parts = set_aside(parts)
    limit = train_clips or limits["train"]
    return parts | {"train": evenly(parts["train"], limit) if limit else parts["train"]}


def _if_there(domain: Domain, role: str, limit: int | None, options: dict) -> list[Clip]:
    """Clips of a role; none where there is no such role, or no such split of a Hub data set."""
    if role not in domain.roles:
        return []
    try:
        return load_clips(domain, role, limit, **options)
    except UnknownName as error:
        if role == "train" or not error.made_of[0].startswith("split of"):
            raise
        return []


def set_aside(parts: Parts, roles: Sequence[str] = ("test", "dev")) -> Parts:
    """Fill empty parts with a tenth of the training clips, at least two: whole speakers or recordings (`askd.recordings.grouped`)
    in the order of a hash, as long as half of the clips are left to train on."""
    train = parts["train"]
    if len(train) < FEWEST - 2:
        return parts
    group, size = grouped(train), Counter(map(grouped(train), train))
    waiting = sorted(size, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    least, spare, role_of = max(2, len(train) // 10), len(train) // 2, {}
    for role in (role for role in roles if not parts[role]):
        count = 0
        for name in [name for name in waiting if name not in role_of]:
            if count < least and size[name] <= spare:
                role_of[name] = role
                count, spare = count + size[name], spare - size[name]
    parts = parts | {"train": [clip for clip in train if group(clip) not in role_of]}
    for role in set(role_of.values()):
        parts[role] = [clip for clip in train if role_of.get(group(clip)) == role]
    return parts


def _part_company(parts: Parts) -> None:
    """Leave out of train and dev what sounds the same as a test clip, and out of train what sounds the same as a dev clip."""
    heard: set[str] = set()
    for role in ("test", "dev", "train"):
        kept = [clip for clip in parts[role] if clip.sha256 not in heard]
        if lost := len(parts[role]) - len(kept):
            print(f"{lost} {role} recordings are left out: the same file is in {'test' if role == 'dev' else 'dev or test'}")
        heard |= {clip.sha256 for clip in kept} if role != "train" else set()
        parts[role] = kept


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
