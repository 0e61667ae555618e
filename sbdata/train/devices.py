"""Compute device of a run: one CPU, one GPU, or one of the processes that torchrun started.

Lightning Fabric handles precision, the gradients of several processes and their communication. It
is imported when a training begins, since the import takes seconds.
"""

from __future__ import annotations

import logging
import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from sbdata.errors import InputError
from sbdata.machine import process_count, usable_cores

_MOST_WORKERS = 8

if TYPE_CHECKING:
    from lightning_fabric import Fabric


@dataclass(frozen=True)
class DistributedContext:
    """Device and rank of this process in a run of one or several processes.

    Attributes:
        device: Device on which this process computes.
        rank: Rank of the process; rank 0 writes files.
        world_size: Number of processes of the run.
        workers: Number of data-loading workers of this process.
    """

    device: torch.device
    rank: int = 0
    world_size: int = 1
    workers: int = 0

    @property
    def is_first(self) -> bool:
        """Return True if this process writes files and shows progress."""
        return self.rank == 0

    def wait(self) -> None:
        """Wait for all other processes."""
        if self.world_size > 1:
            self.fabric().barrier()

    def fabric(self, *, scaled: bool = False) -> Fabric:
        """Return a launched Lightning Fabric for one training.

        Args:
            scaled: True to scale the loss, so that gradients in float16 do not underflow.
        """
        from lightning_fabric import Fabric
        from lightning_fabric.plugins import MixedPrecision, Precision
        from lightning_fabric.plugins.environments import (
            LightningEnvironment,
            TorchElasticEnvironment,
        )
        from lightning_fabric.strategies import DDPStrategy, SingleDeviceStrategy

        class Scaled(MixedPrecision):
            """Scaling of the loss alone; ``sbdata.train.precision`` says what is autocast."""

            def forward_context(self) -> AbstractContextManager[None]:
                return nullcontext()

            def convert_input(self, data: Any) -> Any:
                return data

        logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # hide start-up messages
        kind = self.device.type
        plugin = Scaled("16-mixed", kind) if scaled else Precision()
        found: Fabric
        if self.world_size == 1:  # even under torchrun, which may start a single process
            found = Fabric(
                accelerator=kind,
                devices=1,
                strategy=SingleDeviceStrategy(self.device),
                plugins=[plugin, LightningEnvironment()],
            )
        else:
            here = int(os.environ.get("LOCAL_WORLD_SIZE", self.world_size))
            found = Fabric(
                accelerator=kind,
                devices=here,
                num_nodes=self.world_size // here,
                strategy=DDPStrategy(),
                plugins=[plugin, TorchElasticEnvironment()],
            )
        found.launch()
        return found


def init_distributed(device: str = "auto", workers: int | None = None) -> DistributedContext:
    """Find the device, and join the other processes if torchrun started this one.

    Args:
        device: Device name: ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.
        workers: Number of data-loading workers; by default none on a CPU, and on a GPU its share of
            the cores that this process may use, 8 at most.

    Raises:
        InputError: if there is no such device.
    """
    rank = int(os.environ.get("RANK", "0"))
    found = find_device(device, int(os.environ.get("LOCAL_RANK", "0")))
    if found.type == "cuda":
        torch.cuda.set_device(found)
        # cuBLAS is deterministic only with a workspace of fixed size, set before its first use.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if workers is None:
        workers = _cores_of(found)
    context = DistributedContext(found, rank, process_count(), workers)
    if context.world_size > 1:
        context.fabric()  # joins the other processes
    return context


def _cores_of(device: torch.device) -> int:
    """Return the default number of cores that load data for a device."""
    if device.type != "cuda":
        return 0
    gpus: int = torch.cuda.device_count()
    return min(max(usable_cores() // gpus, 1), _MOST_WORKERS)


def find_device(name: str, local_rank: int = 0) -> torch.device:
    """Return a device by its name.

    Args:
        name: Device name: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.
        local_rank: Index of the GPU that ``cuda`` stands for.

    Raises:
        InputError: if there is no such device.
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
        msg = f"--device {name}: PyTorch finds no Apple GPU; use --device cpu"
        raise InputError(msg)
    if device.type == "cuda":
        if not torch.cuda.is_available():
            msg = f"--device {name}: PyTorch finds no CUDA device; use --device cpu"
            raise InputError(msg)
        if device.index is None:
            device = torch.device("cuda", local_rank)
        if device.index >= torch.cuda.device_count():
            last = torch.cuda.device_count() - 1
            msg = f"--device {name}: no such CUDA device; use one from cuda:0 to cuda:{last}"
            raise InputError(msg)
    return device


def _no_such_device(name: str) -> InputError:
    return InputError(f"--device {name}: no such device; use auto, cpu, cuda, cuda:N or mps")
