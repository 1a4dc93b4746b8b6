"""The processes of one training run: one, or as many as ``accelerate launch`` started."""

import os

import torch


def all_processes():
    """accelerate's `PartialState`: who am I, how many are we, wait for each other.

    Several processes without a GPU talk through gloo; accelerate wants to be told so.
    """
    from accelerate import PartialState

    return PartialState(cpu=int(os.environ.get("WORLD_SIZE", 1)) > 1 and not torch.cuda.is_available())
