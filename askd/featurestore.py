"""Log-mel features on disk: computed once per clip, read back a clip at a time, so that memory does not grow with the data.

    cache/features/<digest>.f32     (M, T_i) float32 blocks, one after the other; 115 MB an hour of speech

The digest covers the sounds' checksums, so all methods, seeds and runs on the same clips share one file. It appears by
rename when it is whole; its length is checked when it is opened, and each clip's checksum when it is read.
"""

import contextlib
import itertools
import os
import zlib
from collections.abc import Sequence

import torch
from torch import Tensor

from askd.clips import Clip
from askd.errors import AudioError, CacheError
from askd.features import FEATURES, log_mels
from askd.files import cache_dir, digest, read_json, replacing, write_json
from askd.progress import progress_bar

BLOCK = 64  # clips featurised at once


class FeatureStore:
    """Features of a list of clips; ``usable`` are the clips that could be read, in order, and ``bad`` what was left out."""

    def __init__(self, clips: Sequence[Clip], bands: int = 80, skip_bad: bool = False, progress: bool = False):
        """Open the store of these clips, or compute it.

        Args:
            clips: what to featurise; each is decoded here, so a broken one is named before training starts.
            bands: mel bands M.
            skip_bad: leave out clips that cannot be read, and say how many.
            progress: show a bar with ETA.

        Raises:
            AudioError: a clip cannot be read; it is named.
        """
        self.bands = bands
        key = digest([FEATURES, bands, [(c.sha256, c.audio_s) for c in clips]], 24)
        self.path = cache_dir() / "features" / f"{key}.f32"
        index = self._kept(clips)
        if index is None:
            index = self._compute(clips, progress)
            write_json(self.path.with_suffix(".json"), index)
        self.bad = index["bad"]
        if self.bad and not skip_bad:
            raise AudioError(self._complaint())
        if self.bad:
            print(f"left out {len(self.bad)} of {len(clips)} recordings: {self._complaint()}")
        broken = {row for row, _ in self.bad}
        self.usable = [clip for row, clip in enumerate(clips) if row not in broken]
        self.frames, self._checksums = index["frames"], index["crc32"]
        self._offsets = [0, *itertools.accumulate(4 * bands * frames for frames in self.frames)]
        self._file = os.open(self.path, os.O_RDONLY)

    def _kept(self, clips: Sequence[Clip]) -> dict | None:
        """The index of an earlier run, unless it is damaged or a clip that could not be read then can be read now."""
        try:
            index = read_json(self.path.with_suffix(".json"))
            whole = self.path.stat().st_size == 4 * self.bands * sum(index["frames"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        for row, _ in index["bad"]:
            with contextlib.suppress(AudioError):
                clips[row].samples()
                return None
        return index if whole else None

    def __del__(self):
        if hasattr(self, "_file"):
            os.close(self._file)

    def _complaint(self) -> str:
        return "; ".join(what for _, what in self.bad[:5]) + (f"; and {len(self.bad) - 5} more" if len(self.bad) > 5 else "")

    def _compute(self, clips: Sequence[Clip], progress: bool) -> dict:
        frames, checksums, bad = [], [], []
        with replacing(self.path) as scratch, open(scratch, "wb") as file, progress_bar(
            total=len(clips), desc="features", unit="clip", shown=progress
        ) as bar:
            for start in range(0, len(clips), BLOCK):
                samples = []
                for row, clip in enumerate(clips[start : start + BLOCK], start):
                    try:
                        samples.append(clip.samples())
                    except AudioError as error:
                        bad.append((row, str(error)))
                for features in log_mels(samples, self.bands):
                    frames.append(features.shape[-1])
                    content = features.contiguous().numpy().tobytes()
                    checksums.append(zlib.crc32(content))
                    file.write(content)
                bar.update(len(clips[start : start + BLOCK]))
        return {"frames": frames, "crc32": checksums, "bad": bad}

    def read(self, row: int) -> Tensor:
        """Features of ``usable[row]``, (M, T) float32.

        Raises:
            CacheError: they do not match their checksum.
        """
        size = self._offsets[row + 1] - self._offsets[row]
        content = bytearray(os.pread(self._file, size, self._offsets[row]))
        if zlib.crc32(content) != self._checksums[row]:
            raise CacheError(f"{self.path} is damaged: delete it and run again")
        return torch.frombuffer(content, dtype=torch.float32).view(self.bands, self.frames[row])
