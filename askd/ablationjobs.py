"""The jobs of an ablation: one after the other, or side by side in processes; one that fails does not stop the others."""

import contextlib
import io
import multiprocessing
import os
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from askd.ablationfiles import hypotheses_path
from askd.errors import AskdError
from askd.rows import meta_path
from askd.runs import Run


@dataclass(frozen=True)
class Job:
    """One student to train and transcribe, or the teacher to transcribe."""

    folder: Path  # of its seed
    seed: int
    method: str
    max_new_tokens: int
    progress: bool = False

    @property
    def name(self) -> str:
        """How it is called on the terminal."""
        return "teacher" if self.method == "teacher" else f"{self.method}, seed {self.seed}"


class Outcome(NamedTuple):
    """What became of a job."""

    error: str | None
    seconds: float
    worked: bool  # False: everything was there already
    said: tuple[str, ...] = ()  # lines that it printed


def carry_out(jobs: Sequence[Job], workers: int) -> dict[str, str]:
    """Do them all, in so many processes, and print how far it is; returns errors by the name of the job."""
    failed, taken, said, began = {}, [], set(), time.monotonic()
    workers = min(workers, len(jobs))
    if workers > 1:
        _prepare(jobs)
    done = side_by_side(jobs, workers) if workers > 1 else _one_by_one(jobs)
    for number, (job, outcome) in enumerate(done, 1):
        for line in outcome.said:
            if line not in said:  # a domain that is missing is so in every job
                print(line, flush=True)
        said.update(outcome.said)
        if outcome.error:
            failed[job.name] = outcome.error
        if outcome.worked:
            taken.append(outcome.seconds)
        left = eta_s(taken, len(jobs) - number, workers)
        print(progress_line(number, len(jobs), job.name, outcome, time.monotonic() - began, left), flush=True)
    return failed


def eta_s(taken: Sequence[float], left: int, workers: int = 1) -> float | None:
    """Seconds until all is done: the mean job so far, times the rounds that are left; None when nothing is known yet.

    Args:
        taken: seconds of the jobs that were not done already.
        left: jobs still to do, those running included.
        workers: jobs done at once.

    >>> eta_s([60, 120], 5, 2), eta_s([], 3), eta_s([], 0)
    (270.0, None, 0.0)
    """
    if left == 0:
        return 0.0
    return sum(taken) / len(taken) * -(-left // workers) if taken else None


def progress_line(number: int, total: int, name: str, outcome: Outcome, elapsed_s: float, left_s: float | None) -> str:
    """
    >>> progress_line(3, 28, "askd, seed 1", Outcome(None, 250, True), 3900, 12_000)
    '[3/28] askd, seed 1: 4.2 min; 65.0 min so far, about 3.3 h left'
    """
    what = "failed" if outcome.error else _duration(outcome.seconds) if outcome.worked else "done before"
    left = "" if left_s is None else f", about {_duration(left_s)} left" if left_s else ", all done"
    return f"[{number}/{total}] {name}: {what}; {_duration(elapsed_s)} so far{left}"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 60 else f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _one_by_one(jobs: Iterable[Job]) -> Iterator[tuple[Job, Outcome]]:
    for job in jobs:
        yield job, _work(replace(job, progress=sys.stderr.isatty()))


def side_by_side(
    jobs: Sequence[Job], workers: int, work: Callable[[Job], Outcome] | None = None
) -> Iterator[tuple[Job, Outcome]]:
    """Jobs in so many processes, as they end. A process that dies takes its own job with it, and no other."""
    gpus, threads = gpus_here(), max(1, len(os.sched_getaffinity(0)) // workers if hasattr(os, "sched_getaffinity") else 1)

    def pool(slot: int) -> ProcessPoolExecutor:
        gpu = gpus[slot % len(gpus)] if gpus else None
        return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _take_share, (gpu, threads))

    pools, running, waiting, free = [pool(slot) for slot in range(workers)], {}, deque(jobs), list(range(workers))
    try:
        while waiting or running:
            while waiting and free:
                slot, job = free.pop(0), waiting.popleft()
                running[pools[slot].submit(work or _work, job)] = slot, job
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                slot, job = running.pop(future)
                try:
                    outcome = future.result()
                except BrokenProcessPool:
                    outcome = Outcome("its process was killed; out of memory? Fewer --workers need less", 0.0, False)
                    pools[slot] = pool(slot)
                free.append(slot)
                yield job, outcome
    finally:
        for each in pools:
            each.shutdown(cancel_futures=True)


def gpus_here() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    import torch

    names = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    count = torch.cuda.device_count()
    return names[:count] if names else [str(i) for i in range(count)]


def _take_share(gpu: str | None, threads: int) -> None:
    """The first thing in a worker: nothing has asked for a GPU yet."""
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    import torch

    torch.set_num_threads(threads)


def _prepare(jobs: Sequence[Job]) -> None:
    """Speech that has to be made is made once, before several processes want it."""
    from askd.teacher import load_teacher

    for folder in dict.fromkeys(job.folder for job in jobs):
        with contextlib.redirect_stdout(io.StringIO()):  # the jobs say what is left out
            run = Run(folder)
            for role in ("dev", "test"):
                run.clips(role, progress=sys.stderr.isatty())
            if not run.settings().streaming:
                run.training_clips(*load_teacher(run.settings().teacher), progress=sys.stderr.isatty())


def _work(job: Job) -> Outcome:
    """Carry out one job; whatever goes wrong in it stays in it."""
    began, before, printed, error = time.monotonic(), _stamps(job), io.StringIO(), None
    try:
        with contextlib.redirect_stdout(printed):
            _train_and_transcribe(job)
    except AskdError as problem:
        error = str(problem)
    except Exception as problem:
        traceback.print_exc()
        error = f"{type(problem).__name__}: {problem}"
    worked = _stamps(job) != before
    return Outcome(error, time.monotonic() - began, worked, tuple(printed.getvalue().splitlines()))


def _train_and_transcribe(job: Job) -> None:
    from askd.evaluation import hypotheses
    from askd.teacher import load_teacher
    from askd.timings import device_here

    run, path = Run(job.folder), hypotheses_path(job.folder, job.method)
    model, processor = load_teacher(run.settings().teacher)
    if job.method != "teacher":
        before = _stamps(job)[0]
        if before is None:  # a killed training must not leave a new student beside transcripts of an earlier one
            _forget(path)
        student = run.train(job.method, model, processor, job.progress)
        if _stamps(job)[0] != before:
            _forget(path)
        model, processor = load_teacher(student)
    model.to(device_here())
    hypotheses(model, processor, run.clips("test"), path, progress=job.progress, max_new_tokens=job.max_new_tokens)


def _forget(path: Path) -> None:
    """Transcripts of an earlier student."""
    meta_path(path).unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def _stamps(job: Job) -> list[int | None]:
    """When the job's two results were written."""
    files = Run(job.folder).student(job.method) / "finished.json", meta_path(hypotheses_path(job.folder, job.method))
    return [path.stat().st_mtime_ns if path.is_file() else None for path in files]
