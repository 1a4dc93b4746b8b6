"""Work spread over processes, the same results in the same order whatever their number."""

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")


def in_parallel(
    work: Callable[[Job], Result], jobs: Sequence[Job], workers: int | None = None, chunk: int = 4
) -> Iterator[Result]:
    """``work`` of every job, in order, as they come; the first error ends it.

    The processes stay for the next call, with what they have loaded. They are joblib's, which do not import the caller's
    script again: it needs no ``if __name__ == "__main__"``.

    Args:
        work: a function of a module.
        jobs: its arguments.
        workers: processes; None is one a core, 1 is this process.
        chunk: jobs handed over at once.
    """
    from joblib import Parallel, delayed

    if workers == 1:
        return map(work, jobs)
    # joblib takes a speech engine that is loaded on first use for a leak, replaces the worker and says so: nothing is lost
    warnings.filterwarnings("ignore", "A worker stopped while some jobs")
    cache = os.environ.get("ASKD_CACHE")
    return Parallel(workers or -1, batch_size=chunk, return_as="generator")(delayed(_run)(work, cache, job) for job in jobs)


def _run(work: Callable[[Job], Result], cache: str | None, job: Job) -> Result:
    """A worker of an earlier call has that call's environment."""
    if cache is None:
        os.environ.pop("ASKD_CACHE", None)
    else:
        os.environ["ASKD_CACHE"] = cache
    return work(job)
