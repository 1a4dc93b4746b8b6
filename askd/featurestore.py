"""Log-mel features on disk: computed once per clip, read back a clip at a time, so that memory does not grow with the data.

    cache/features/<digest>.f32     (M, T_i) float32 blocks, one after the other; 115 MB an hour of speech

The digest covers the sounds' checksums, so all methods, seeds and runs on the same clips share one file. It appears by
rename when it is whole, and its length is checked when it is opened.
"""

import os
from collections.abc import Sequence

import torch
from torch import Tensor
from tqdm.auto import tqdm

from askd.clips import Clip
from askd.errors import AudioError
from askd.features import log_mels
from askd.files import cache_dir, digest, read_json, replacing, write_json

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
        key = digest(["log_mels 2", bands, [(c.sha256 or c.path, c.audio_s) for c in clips]], 24)
        self.path = cache_dir() / "features" / f"{key}.f32"
        index_path = self.path.with_suffix(".json")
        index = read_json(index_path) if index_path.is_file() else None
        if index is None or not self.path.is_file() or self.path.stat().st_size != 4 * bands * sum(index["frames"]):
            index = self._compute(clips, progress)
            write_json(index_path, index)
        self.bad = index["bad"]
        if self.bad and not skip_bad:
            raise AudioError(self._complaint())
        if self.bad:
            print(f"left out {len(self.bad)} of {len(clips)} recordings: {self._complaint()}")
        broken = {row for row, _ in self.bad}
        self.usable = [clip for row, clip in enumerate(clips) if row not in broken]
        self.frames = index["frames"]
        self._offsets = [0]
        for frames in self.frames:
            self._offsets.append(self._offsets[-1] + 4 * bands * frames)
        self._file = os.open(self.path, os.O_RDONLY)

    def __del__(self):
        if hasattr(self, "_file"):
            os.close(self._file)

    def _complaint(self) -> str:
        return "; ".join(what for _, what in self.bad[:5]) + (f"; and {len(self.bad) - 5} more" if len(self.bad) > 5 else "")

    def _compute(self, clips: Sequence[Clip], progress: bool) -> dict:
        frames, bad = [], []
        with replacing(self.path) as scratch, open(scratch, "wb") as file, tqdm(
            total=len(clips), desc="features", unit="clip", disable=not progress
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
                    file.write(features.contiguous().numpy().tobytes())
                bar.update(len(clips[start : start + BLOCK]))
        return {"frames": frames, "bad": bad}

    def read(self, row: int) -> Tensor:
        """Features of ``usable[row]``, (M, T) float32."""
        size = self._offsets[row + 1] - self._offsets[row]
        content = bytearray(os.pread(self._file, size, self._offsets[row]))
        return torch.frombuffer(content, dtype=torch.float32).view(self.bands, self.frames[row])
