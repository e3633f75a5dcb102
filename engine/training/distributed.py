"""Several processes that train one model, as torchrun starts them, or a single one."""

import os
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from earshot_asr.engine.errors import DeviceError

LONGEST_WAIT = timedelta(hours=1)
"""How long the other processes wait for the first one, which evaluates and writes files."""


class World:
    """The processes of a run. torchrun sets WORLD_SIZE, RANK, LOCAL_RANK, MASTER_ADDR and MASTER_PORT."""

    def __init__(self, device: str) -> None:
        """device: cpu, cuda, cuda:N or auto. Raises DeviceError."""
        self.rank, self.size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        self.device = _device(device, int(os.environ.get("LOCAL_RANK", 0)) if self.size > 1 else None)
        if self.size > 1:
            if self.device.type == "cuda":
                torch.cuda.set_device(self.device)
            dist.init_process_group("nccl" if self.device.type == "cuda" else "gloo", timeout=LONGEST_WAIT)

    @property
    def first(self) -> bool:
        """Whether this is the process that logs, evaluates and writes files."""
        return self.rank == 0

    def wrap(self, module: nn.Module) -> nn.Module:
        """The module to call, whose gradients become the mean over all processes."""
        if self.size == 1:
            return module
        # Processes may have gradients for different weights: a batch without an alignment does not use phone heads.
        return DistributedDataParallel(module, find_unused_parameters=True)

    def agree(self, *values: float) -> list[float]:
        """The largest of each value over all processes, which wait for each other here."""
        if self.size == 1:
            return list(values)
        together = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(together, dist.ReduceOp.MAX)
        return together.tolist()

    def mean(self, values: Tensor) -> Tensor:
        """The mean of values, on the device, over all processes, which wait for each other here."""
        if self.size == 1:
            return values
        together = values.clone()
        dist.all_reduce(together, dist.ReduceOp.SUM)
        return together / self.size

    def close(self) -> None:
        """Leaves the group of processes."""
        if self.size > 1:
            dist.destroy_process_group()


def _device(name: str, local: int | None) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise DeviceError("there is no CUDA device here; take --device cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise DeviceError(f"{name!r} is no device; take cpu, cuda or cuda:1") from None
    if device.type not in ("cpu", "cuda"):
        raise DeviceError(f"{name!r} is not supported; take cpu or cuda")
    if device.type == "cuda":
        count = torch.cuda.device_count()
        if local is not None and local >= count:
            raise DeviceError(f"there are more processes than CUDA devices; take torchrun --nproc-per-node {count}")
        if local is not None:
            return torch.device("cuda", local)
        if device.index is not None and device.index >= count:
            there = "cuda:0" if count == 1 else f"cuda:0 to cuda:{count - 1}"
            raise DeviceError(f"there is no {name} here; there is {there}")
    return device


def half_precision(device: torch.device) -> bool:
    """Whether the device computes in bfloat16 faster than in float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported())
