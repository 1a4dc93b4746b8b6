"""Teachers that do not fit beside their student: in 8 bits, offloaded, or sharded over the processes.

    full      as it is: 4 bytes a weight (large-v2: 6.2 GB)
    8bit      int8 weights, one scale an output channel (torchao, any device): a quarter of it
    offload   on a GPU: weights stay in the computer's memory, a layer at a time comes over (accelerate);
              without one: they stay on disk, mapped
    fsdp      each process holds 1/N of every layer and gathers it for the moment it is used (torch FSDP2)

The answers of ``offload`` and ``fsdp`` are those of ``full``; ``8bit`` has its own cached targets.
"""

import copy
import tempfile

import torch

from askd.errors import AskdError, pick
from askd.targets import weights_digest

MEMORY = ("full", "8bit", "offload", "fsdp")


def place_teacher(teacher, memory: str, device: torch.device):
    """The teacher, ready to answer on ``device``. Only with ``full`` is it the one that was given, moved.

    Args:
        teacher: Whisper in eval mode, whole, on any device.
        memory: one of `MEMORY`.
        device: where the batches are.

    Raises:
        UnknownName: no such kind.
        AskdError: torchao is missing; ``fsdp`` in a single process.
    """
    pick("teacher memory", memory, dict.fromkeys(MEMORY))
    if memory == "full":
        return teacher.to(device)
    name = weights_digest(teacher)
    teacher = copy.deepcopy(teacher).requires_grad_(False)
    for parameter in teacher.parameters():
        parameter.data = parameter.data.contiguous()  # shards and files are row-major
    teacher.askd_device = device
    teacher.askd_digest = f"{name}-8bit" if memory == "8bit" else name
    return {"8bit": _in_8_bits, "offload": _offloaded, "fsdp": _sharded}[memory](teacher, device)


def _in_8_bits(teacher, device):
    try:
        from torchao.quantization import Int8WeightOnlyConfig, quantize_
    except ImportError:
        raise AskdError("a teacher in 8 bits needs the package torchao: pip install 'askd[scale]'") from None
    teacher.to(device)
    quantize_(teacher.model, Int8WeightOnlyConfig())  # not the vocabulary projection, which shares the embedding's weight
    return teacher


def _offloaded(teacher, device):
    import accelerate

    if device.type == "cuda":
        return accelerate.cpu_offload(teacher, execution_device=device)
    folder = tempfile.TemporaryDirectory(prefix="askd-teacher-")
    teacher.askd_offload = folder  # lives as long as the teacher
    accelerate.disk_offload(teacher, folder.name, execution_device=device)
    return teacher


def _sharded(teacher, device):
    if not torch.distributed.is_initialized() or torch.distributed.get_world_size() == 1:
        raise AskdError("a sharded teacher needs several processes: accelerate launch --num_processes N -m askd train ...")
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    for part in (teacher.model.encoder, teacher.model.decoder):
        for layer in part.layers:
            fully_shard(layer, mesh=mesh)
    return teacher.to(device)
