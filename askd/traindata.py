"""What each training step sees, made ahead of it in worker processes.

A step's batch is cut into **lanes**, its micro-batches. Which clips lane j of step s holds is a function of (data, seed,
s, j) alone. One process computes all lanes, one after the other; of N processes, process r computes lanes r, r + N, ...
So the number of processes and of workers, and where a run was resumed, change nothing but the time it takes.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from askd.batches import Batch, batch_plan, collate
from askd.errors import AskdError


class StoredData:
    """Examples whose features lie in the cache: epochs of shuffled clips, bucketed by length (`askd.batches.batch_plan`)."""

    def __init__(self, examples: Sequence, batch_size: int, micro_batch_size: int, steps: int, seed: int):
        self._examples, self.micro_batch_size = examples, micro_batch_size
        self.plan = batch_plan([e.frames for e in examples], batch_size, steps, seed)

    def batch(self, step: int, lane: int, **padding) -> Batch:
        """One micro-batch; ``padding`` as in `askd.batches.collate`."""
        rows = self.plan[step][lane * self.micro_batch_size : (lane + 1) * self.micro_batch_size]
        return collate(self._examples, rows, **padding)


class StreamedData:
    """Examples of an `askd.stream.StreamData`, as `StoredData` gives its own."""

    def __init__(self, stream):
        self._stream = stream

    def batch(self, step: int, lane: int, **padding) -> Batch:
        """One micro-batch; ``padding`` as in `askd.batches.collate`."""
        examples = self._stream.examples(step, lane)
        return collate(examples, range(len(examples)), **padding)


def open_stream(domains: Sequence, model, processor, config, skip_bad: bool = False):
    """The training rows of Hub data sets in Parquet, cut into the micro-batches of ``config``: an `askd.stream.StreamData`.

    Raises:
        AskdError: the micro-batches of a streamed data set must all be equally large.
    """
    from askd.processes import all_processes
    from askd.stream import StreamData

    processes = all_processes().num_processes
    size, lanes = config.micro_batch(processes), config.lanes(processes)
    if size * lanes != config.batch_size:
        raise AskdError(f"batch_size {config.batch_size} of streamed clips must be a multiple of the micro-batch, {size}")
    return StreamData(domains, "train", model, processor, lanes, size, config.seed, skip_bad)


class _Steps(Dataset):
    """All micro-batches of this process, a step an item."""

    def __init__(self, data, lanes: Sequence[int], steps: int, context: str, pad_s: tuple[float, float], seed: int):
        self.data, self.lanes, self.steps, self.context, self.pad_s, self.seed = data, lanes, steps, context, pad_s, seed

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> list[Batch]:
        if self.context == "full":
            from askd.features import FULL_CONTEXT

            padding = {"frames": FULL_CONTEXT}
        else:  # the trailing silence is drawn per step, so that all lanes hear the same
            padding = {"pad_frames": int(100 * np.random.default_rng([self.seed, 1, step]).uniform(*self.pad_s))}
        return [self.data.batch(step, lane, **padding) for lane in self.lanes]


def lanes_of(lanes: int, process: int, processes: int) -> range:
    """The lanes of one process.

    Raises:
        AskdError: they cannot be dealt out evenly.
    """
    if lanes % processes:
        raise AskdError(
            f"{lanes} micro-batches a step cannot be dealt out to {processes} processes evenly: choose a micro-batch size "
            f"such that their number is a multiple of {processes}"
        )
    return range(process, lanes, processes)


def step_batches(
    data, lanes: Sequence[int], first: int, steps: int, context: str, pad_s: tuple[float, float], seed: int, workers: int
) -> DataLoader:
    """An iterable of the lists of micro-batches of steps ``first`` .. ``steps`` - 1, read ahead by ``workers`` processes."""
    dataset = _Steps(data, lanes, steps, context, pad_s, seed)
    more = {"prefetch_factor": 4, "multiprocessing_context": "fork"} if workers else {}
    return DataLoader(
        dataset, batch_size=None, sampler=range(first, steps), num_workers=workers, pin_memory=torch.cuda.is_available(), **more
    )
