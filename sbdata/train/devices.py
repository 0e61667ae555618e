"""Where a run computes: one CPU, one GPU, or one of the processes that torchrun started."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from sbdata.errors import InputError
from sbdata.machine import process_count


@dataclass(frozen=True)
class DistributedContext:
    """This process among those of the run.

    Attributes:
        device: that it computes on.
        rank: of the process; 0 writes files.
        processes: of the run.
        workers: that cut training views for it.
    """

    device: torch.device
    rank: int = 0
    processes: int = 1
    workers: int = 0

    @property
    def is_first(self) -> bool:
        """Tell whether this process writes files and shows progress."""
        return self.rank == 0

    def wait(self) -> None:
        """Wait for the other processes."""
        if self.processes > 1:
            dist.barrier()

    def add_up(self, value: Tensor) -> Tensor:
        """Return the sum of a tensor over all processes."""
        if self.processes > 1:
            dist.all_reduce(value)
        return value

    def add_up_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Sum the gradients over all processes, in one message."""
        if self.processes == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        dist.all_reduce(flat)
        start = 0
        for gradient in gradients:
            gradient.copy_(flat[start : start + gradient.numel()].view_as(gradient))
            start += gradient.numel()


def init_distributed(device: str = "auto", workers: int = 0) -> DistributedContext:
    """Find the device, and the other processes if torchrun started this one.

    Args:
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.
        workers: processes that cut training views.

    Raises:
        InputError: for a device that is not there.
    """
    processes = process_count()
    rank = int(os.environ.get("RANK", "0"))
    found = find_device(device, int(os.environ.get("LOCAL_RANK", "0")))
    if found.type == "cuda":
        torch.cuda.set_device(found)
        # cuBLAS is deterministic only with a workspace of fixed size, named before its first use.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if processes > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if found.type == "cuda" else "gloo")
    return DistributedContext(found, rank, processes, workers)


def find_device(name: str, local_rank: int = 0) -> torch.device:
    """Return a device by its name.

    Args:
        name: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.
        local_rank: number of the GPU that ``cuda`` means.

    Raises:
        InputError: for a device that is not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise _no_such_device(name) from error
    if device.type not in ("cpu", "cuda", "mps"):
        raise _no_such_device(name)
    if device.type == "mps" and not torch.backends.mps.is_available():
        msg = f"--device {name}: PyTorch finds no GPU of Apple's here; use --device cpu"
        raise InputError(msg)
    if device.type == "cuda":
        if not torch.cuda.is_available():
            msg = f"--device {name}: PyTorch finds no CUDA device here; use --device cpu"
            raise InputError(msg)
        if device.index is None:
            device = torch.device("cuda", local_rank)
        if device.index >= torch.cuda.device_count():
            msg = f"--device {name}: there are {torch.cuda.device_count()} CUDA devices, from 0 on"
            raise InputError(msg)
    return device


def _no_such_device(name: str) -> InputError:
    return InputError(f"--device {name}: no such device; it takes auto, cpu, cuda, cuda:N or mps")
