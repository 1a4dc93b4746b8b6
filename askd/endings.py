"""Speech that ends elsewhere than its sentence: recordings cut off in mid-phrase, and two with a pause between them.

A student of whole sentences learns that a transcript ends where a sentence does. Given half a phrase it may then write on, or
repeat itself up to the token limit; given two sentences it may stop after the first. These clips show it both, and need no new
recordings (`askd.runs.Settings`: cut_clips, joined_clips).

    cut      the first 30-80 % of a recording. How many words are in it, the teacher says: its transcript must be the beginning
             of the given one, word for word after normalisation, and end there; cuts within a word and mistakes fall out
    joined   two recordings of one domain, of one speaker where there are some, with 0.2-1.2 s of silence between
"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch

from askd.audio import MAX_AUDIO_S, SAMPLING_RATE_HZ
from askd.clips import Clip, cached_clip, make_clip
from askd.decoding import decoding_settings, transcribe
from askd.progress import progress_bar
from askd.scoring import normalise
from askd.targets import weights_digest

HEARD = (0.3, 0.8)  # share of a recording that is left. Ours
PAUSE_S = (0.2, 1.2)  # between two recordings. Ours
BLOCK = 64  # clips between two saves


def cut_clips(
    clips: Sequence[Clip], count: int, teacher, processor, seed: int = 0, autocast: torch.dtype | None = None,
    progress: bool = False,
) -> list[Clip]:
    """Cut ``count`` clips off in mid-phrase; those come back of which the teacher's words are the beginning of the transcript.

    Args:
        clips: whole recordings with their transcripts.
        count: how many are cut; all, where there are fewer.
        teacher, processor: from `askd.load_teacher`; the transcripts are kept in the cache with the sound.
        seed: draws the clips and the places.
        autocast: dtype for the teacher's matrix products, or None.
        progress: show a bar with ETA.

    Returns:
        clips whose text is the teacher's, its punctuation included; of tiny.en and the corpora of profile real, 307 of 1,000.
    """
    rng = np.random.default_rng([seed, 3])
    rows = rng.permutation(len(clips))[:count]
    shares = rng.uniform(*HEARD, len(rows)).round(3)
    teller = [weights_digest(teacher), decoding_settings(teacher), str(autocast)]
    kept = []
    with progress_bar(total=len(rows), desc="cut clips", unit="clip", shown=progress) as bar:
        for start in range(0, len(rows), BLOCK):
            chosen = [(clips[i], {"cut": clips[i].sha256, "share": float(s), "teacher": teller})
                      for i, s in zip(rows[start : start + BLOCK], shares[start : start + BLOCK], strict=True)]
            found = [cached_clip(clip.domain, recipe) for clip, recipe in chosen]
            new = [pair for pair, clip in zip(chosen, found, strict=True) if clip is None]
            sounds = [clip.samples() for clip, _ in new]
            sounds = [sound[: int(recipe["share"] * len(sound))] for sound, (_, recipe) in zip(sounds, new, strict=True)]
            with torch.autocast(next(teacher.parameters()).device.type, dtype=autocast, enabled=autocast is not None):
                said = transcribe(teacher, processor, sounds)
            for (clip, recipe), sound, words in zip(new, sounds, said, strict=True):
                text = words.text if words.ended else ""
                make_clip(clip.domain, recipe, f"{clip.id}-cut", clip.speaker, text, lambda sound=sound: sound)
            made = [cached_clip(clip.domain, recipe) for clip, recipe in chosen]
            kept += [cut for (whole, _), cut in zip(chosen, made, strict=True) if begins(whole.text, cut.text)]
            bar.update(len(chosen))
    return kept


def begins(whole: str, text: str) -> bool:
    """Whether ``text`` is the beginning of a transcript, word for word, and not all of it.

    The teacher's "..." is a word to Whisper's normaliser, so a text that ends with it does not begin a transcript: nor should a
    student learn to write it.

    >>> begins("There are currently two callers.", "There are currently"), begins("Yes.", "Yes."), begins("Yes, sir.", "")
    (True, False, False)
    """
    words, first = normalise(whole).split(), normalise(text).split()
    return 0 < len(first) < len(words) and words[: len(first)] == first


def joined_clips(clips: Sequence[Clip], count: int, seed: int = 0) -> list[Clip]:
    """``count`` clips of two recordings each, where there are enough that fit into 30 s; no recording comes in two pairs.

    Args:
        clips: whole recordings with their transcripts.
        count: how many pairs.
        seed: draws the pairs and the pauses.
    """
    rng = np.random.default_rng([seed, 4])
    waiting: dict[tuple[str, str], Clip] = {}
    pairs = []
    order = [clips[i] for i in rng.permutation(len(clips))]
    for clip in order:  # of one speaker
        first = waiting.pop((clip.domain, clip.speaker), None)
        if first is None:
            waiting[clip.domain, clip.speaker] = clip
        else:
            pairs.append((first, clip))
    alone = defaultdict(list)
    for clip in waiting.values():
        alone[clip.domain].append(clip)
    for left in alone.values():  # of two
        pairs += zip(left[::2], left[1::2], strict=False)
    fit = [pair for pair in pairs if sum(clip.audio_s for clip in pair) + PAUSE_S[1] <= MAX_AUDIO_S]
    chosen = [fit[i] for i in rng.permutation(len(fit))[:count]]
    pauses = rng.uniform(*PAUSE_S, len(chosen)).round(2)
    return [_joined(*pair, float(pause)) for pair, pause in zip(chosen, pauses, strict=True)]


def _joined(first: Clip, second: Clip, pause_s: float) -> Clip:
    def make() -> np.ndarray:
        silence = np.zeros(int(pause_s * SAMPLING_RATE_HZ), np.float32)
        return np.concatenate([first.samples(), silence, second.samples()])

    recipe = {"joined": [first.sha256, second.sha256], "pause_s": pause_s}
    text = f"{first.text.strip()} {second.text.strip()}"
    return make_clip(first.domain, recipe, f"{first.id}+{second.id}", first.speaker, text, make)
