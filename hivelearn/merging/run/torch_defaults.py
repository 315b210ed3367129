"""A merge is the same whatever its caller has done to torch's defaults."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch


@contextmanager
def torch_defaults() -> Iterator[None]:
    """Compute on the CPU, in float32 where nothing else is said, without autocast or gradients.

    The default type belongs to the process: another thread that makes tensors
    meanwhile sees float32, as it would by default.
    """
    before = torch.get_default_dtype()
    # A device context costs 2 µs a call into torch, a tenth of a merge: only where it is needed.
    elsewhere = torch.get_default_device().type != "cpu"
    device = torch.device("cpu") if elsewhere else nullcontext()
    torch.set_default_dtype(torch.float32)
    try:
        with device, torch.autocast("cpu", enabled=False), torch.no_grad():
            yield
    finally:
        torch.set_default_dtype(before)
