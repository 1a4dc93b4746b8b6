"""The processes of one training run: one, or as many as ``accelerate launch`` started."""

import os
from datetime import timedelta

import torch

PATIENCE = timedelta(hours=24)  # the others wait while one process makes speech or features; ours


def all_processes():
    """accelerate's `PartialState`: who am I, how many are we, wait for each other.

    Several processes without a GPU talk through gloo; accelerate wants to be told so. ``ACCELERATE_USE_CPU=true`` leaves GPUs
    alone.
    """
    from accelerate import PartialState

    several, told = int(os.environ.get("WORLD_SIZE", 1)) > 1, os.environ.get("ACCELERATE_USE_CPU", "").lower()
    cpu = told in ("1", "true", "yes") or (several and not torch.cuda.is_available())
    return PartialState(cpu=cpu, **({"timeout": PATIENCE} if several else {}))
