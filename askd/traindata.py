"""What each training step sees, made ahead of it in worker processes.

A step's batch is cut into **lanes**, its micro-batches. Which clips lane j of step s holds is a function of (data, seed,
s, j) alone. One process computes all lanes, one after the other; of N processes, process r computes lanes r, r + N, ...
So the number of processes and of workers, and where a run was resumed, change nothing but the time it takes.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from askd.batches import Batch, batch_plan, collate
from askd.errors import AskdError
from askd.features import FULL_CONTEXT
from askd.specaugment import masked

AHEAD = 4  # micro-batches each worker has ready. Ours


class StoredData:
    """Examples whose features lie in the cache: epochs of shuffled clips, bucketed by length (`askd.batches.batch_plan`)."""

    def __init__(self, examples: Sequence, batch_size: int, micro_batch_size: int, steps: int, seed: int):
        self._examples, self.micro_batch_size = examples, micro_batch_size
        self.plan = batch_plan([e.frames for e in examples], batch_size, steps, seed)
        self.epoch_steps = len(examples) // batch_size

    def batch(self, step: int, lane: int, **padding) -> Batch:
        """One micro-batch; ``padding`` as in `askd.batches.collate`."""
        rows = self.plan[step][lane * self.micro_batch_size : (lane + 1) * self.micro_batch_size]
        return collate(self._examples, rows, **padding)


class StreamedData:
    """Examples of an `askd.stream.StreamData`, as `StoredData` gives its own."""

    def __init__(self, stream):
        self._stream = stream
        self.epoch_steps = stream.rows // (stream.lanes * stream.micro_batch_size)

    def batch(self, step: int, lane: int, **padding) -> Batch:
        """One micro-batch; ``padding`` as in `askd.batches.collate`."""
        examples = self._stream.examples(step, lane)
        return collate(examples, range(len(examples)), **padding)


def open_stream(domains: Sequence, model, processor, config, skip_bad: bool = False):
    """The training rows of Hub data sets in Parquet, cut into the micro-batches of ``config``: an `askd.stream.StreamData`.

    Raises:
        AskdError: the micro-batches of a streamed data set must all be equally large.
    """
    from askd.stream import StreamData

    size, lanes = config.micro_batch, config.lanes
    if size * lanes != config.batch_size:
        raise AskdError(f"batch_size {config.batch_size} of streamed clips must be a multiple of the micro-batch, {size}")
    return StreamData(domains, "train", model, processor, lanes, size, config.seed, skip_bad)


class _MicroBatches(Dataset):
    """Micro-batches of this process by (step, lane)."""

    def __init__(self, data, context: str, pad_s: tuple[float, float], seed: int, spec_augment: bool = False):
        self.data, self.context, self.pad_s, self.seed, self.spec_augment = data, context, pad_s, seed, spec_augment

    def __getitem__(self, place: tuple[int, int]) -> Batch | AskdError:
        try:
            batch = self._batch(*place)
            if self.spec_augment:
                batch = replace(batch, features=masked(batch.features, np.random.default_rng([self.seed, 2, *place])))
            return batch
        except AskdError as error:  # raised in the parent: on its way a worker's traceback would be wrapped around it
            return error

    def _batch(self, step: int, lane: int) -> Batch:
        if self.context == "full":
            return self.data.batch(step, lane, frames=FULL_CONTEXT)
        pad_s = np.random.default_rng([self.seed, 1, step]).uniform(*self.pad_s)  # per step: all lanes hear the same silence
        return self.data.batch(step, lane, pad_frames=int(100 * pad_s))


def lanes_of(lanes: int, process: int, processes: int) -> range:
    """The lanes of one process.

    Raises:
        AskdError: they cannot be dealt out evenly.
    """
    if lanes % processes:
        raise AskdError(
            f"{lanes} micro-batches a step cannot be dealt out to {processes} processes evenly: choose --set "
            f"micro_batch_size=N such that their number is a multiple of {processes}"
        )
    return range(process, lanes, processes)


def step_batches(
    data, lanes: Sequence[int], first: int, steps: int, context: str, pad_s: tuple[float, float], seed: int, workers: int,
    spec_augment: bool = False,
) -> Iterator[list[Batch]]:
    """The micro-batches of steps ``first`` .. ``steps`` - 1, read ahead by up to ``workers`` processes.

    The loader hands out (step, lane) in turn, so a number of workers that divides the lanes ties each lane to one worker,
    which then reads each row group of a streamed data set once: there ``workers`` is lowered to such a number.
    """
    if sys.platform != "linux":  # elsewhere a process that holds a graphics device cannot be forked
        workers = 0
    while isinstance(data, StreamedData) and len(lanes) % max(workers, 1):
        workers -= 1
    places = [(step, lane) for step in range(first, steps) for lane in lanes]
    more = {"prefetch_factor": AHEAD, "multiprocessing_context": "fork"} if workers else {}
    loader = iter(DataLoader(
        _MicroBatches(data, context, pad_s, seed, spec_augment), batch_size=None, sampler=places, num_workers=workers,
        pin_memory=torch.cuda.is_available(), **more,
    ))
    for _ in range(first, steps):
        batches = [next(loader) for _ in lanes]
        for batch in batches:
            if isinstance(batch, AskdError):
                raise batch
        yield batches
