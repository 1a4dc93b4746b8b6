"""Progress bars with ETA, all made here: for those who watch, and none where ``TQDM_DISABLE`` is set (tests, log files)."""

import os
from collections.abc import Iterable


def progress_bar(iterable: Iterable | None = None, desc: str = "", shown: bool | None = True, **options):
    """tqdm's bar.

    Args:
        iterable: what is gone through; None: the caller calls ``update``.
        desc: what is done.
        shown: None: only on a terminal. ``TQDM_DISABLE`` hides it in any case; tqdm itself asks for that only where nothing else
            was said.
        options: tqdm's: ``total``, ``unit``, ``leave``, ...
    """
    from tqdm.auto import tqdm

    disabled = os.environ.get("TQDM_DISABLE", "").lower() not in ("", "0", "false")
    return tqdm(iterable, desc, disable=True if disabled else None if shown is None else not shown, **options)
