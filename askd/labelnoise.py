"""Training transcripts that belong to another recording, as in speech and captions collected from the web.

With right transcripts a student of the labels alone needs no teacher. How do the methods compare when some labels are wrong?
(`askd.runs.Settings`: wrong_transcripts; only training clips are touched.)
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from askd.clips import Clip


def swap_transcripts(clips: Sequence[Clip], share: float, seed: int = 0) -> list[Clip]:
    """The same clips in the same order; a ``share`` of each domain's carries the transcript of another clip of that domain.

    The clips that are drawn hand their transcripts round in a circle, so a domain's words stay what they were. A domain with
    fewer than two to draw is left as it is; two clips of the same words may exchange them.

    Args:
        clips: with their own transcripts.
        share: between 0 and 1, of each domain.
        seed: draws the clips.
    """
    rng = np.random.default_rng([seed, 5])
    domains = defaultdict(list)
    for row, clip in enumerate(clips):
        domains[clip.domain].append(row)
    swapped = list(clips)
    for rows in domains.values():
        drawn = rng.permutation(rows)[: round(share * len(rows))]
        for row, other in zip(drawn, np.roll(drawn, 1), strict=True):
            swapped[row] = replace(clips[row], text=clips[other].text)
    return swapped
