"""Makers of small adapters and the dense float64 truth that merges are held against."""

from collections.abc import Callable, Mapping, Sequence

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from hivelearn.merging import blocks
from hivelearn.merging.methods import kth_largest
from hivelearn.patch.adapter import Adapter

Q = "model.layers.0.self_attn.q_proj"
UP = "model.layers.0.mlp.up_proj"
SHAPES = {Q: (20, 24), UP: (36, 24)}  # (d_out, d_in)


@pytest.fixture(scope="session")
def made() -> Callable[..., Adapter]:
    """Return the maker of a random adapter; everything follows from ``seed``."""

    def make(
        seed: int,
        rank: int = 4,
        *,
        alpha: float = 8.0,
        shapes: Mapping[str, tuple[int, int]] = SHAPES,
        dtype: torch.dtype = torch.float32,
        base: bytes | None = None,
    ) -> Adapter:
        chance = torch.Generator().manual_seed(seed)
        factors = {}
        for module, (d_out, d_in) in shapes.items():
            a = torch.randn(rank, d_in, generator=chance).to(dtype)
            b = torch.randn(d_out, rank, generator=chance).to(dtype)
            factors[module] = (a, b)
        return Adapter(factors, rank, alpha, base)

    return make


@pytest.fixture(scope="session")
def truth() -> Callable[[Sequence[Adapter], Sequence[float], str], Tensor]:
    """Return the dense float64 weighted sum of one module's deltas."""

    def weighted_sum(adapters: Sequence[Adapter], weights: Sequence[float], module: str) -> Tensor:
        deltas = [
            weight * adapter.scale * (pair[1].double() @ pair[0].double())
            for adapter, weight in zip(adapters, weights, strict=True)
            if (pair := adapter.factors.get(module)) is not None
        ]
        return torch.stack(deltas).sum(dim=0)

    return weighted_sum


class Largest(TorchDispatchMode):
    """Watch every tensor that an operation returns and remember the largest."""

    def __init__(self) -> None:
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for value in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(value, torch.Tensor):
                self.numel = max(self.numel, value.numel())
        return out


@pytest.fixture
def largest() -> Largest:
    """Return a watcher of the largest tensor formed inside its ``with`` block."""
    return Largest()


@pytest.fixture
def held_at_once(monkeypatch) -> Callable[..., None]:
    """Let a test choose how much is in memory at once, on which no result depends.

    ``block``: entries of a delta; ``collected``: entries for the choice of a threshold;
    ``share``: of all entries that may be such.
    """
    places = {
        "block": (blocks, "BLOCK_ELEMENTS"),
        "collected": (kth_largest, "COLLECT_MAX"),
        "share": (kth_largest, "SHARE_MAX"),
    }

    def choose(**sizes: float) -> None:
        for name, size in sizes.items():
            monkeypatch.setattr(*places[name], size)

    return choose


@pytest.fixture
def meanwhile(monkeypatch) -> Callable[..., None]:
    """Let something happen to the world, once, as soon as a module's function is called."""

    def arrange(module: object, function: str, happens: Callable[[], object]) -> None:
        real = getattr(module, function)

        def called(*args):
            monkeypatch.undo()
            happens()
            return real(*args)

        monkeypatch.setattr(module, function, called)

    return arrange
