from __future__ import annotations

import pytest
import torch

from sbdata.errors import InputError
from sbdata.train.devices import init_distributed


def test_unknown_devices_are_refused() -> None:
    for name in ("tpu9", "meta", "xla"):
        with pytest.raises(InputError, match=f"--device {name}: no such device"):
            init_distributed(name)
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="--device cuda: PyTorch finds no CUDA device"):
            init_distributed("cuda")
