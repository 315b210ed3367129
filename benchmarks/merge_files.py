"""A whole adapter set from disk to disk, beside a pass that only reads the same files.

Both begin with the files on disk and not in the page cache, as they are when a person
merges. Once they are in the cache, reading costs half as much, and the same merge is
twice as many times a reading: both ratios stand in docs/merging.md.
"""

import os
import tempfile
import threading
import time
from pathlib import Path
from typing import Self

import torch
from safetensors import safe_open
from timing import Row, interleaved

import hivelearn as hl
from hivelearn.patch.adapter import Adapter
from hivelearn.patch.peft_config import WEIGHTS_FILE

RANK = 16
MIB = 1 << 20
READS_MAX = 16.0  # times the read-only pass
ADDED_MAX_MIB = 64.0
# (hidden, intermediate, key and value width, layers, adapters): as Llama-3's 8B and 1B.
EIGHT_B = (4096, 14336, 1024, 32, 16)
ONE_B = (2048, 8192, 512, 4, 16)  # four of sixteen layers


def write_set(
    folder: Path, shape: tuple[int, int, int, int, int], seed: int, *, shared: float = 0.0
) -> list[Path]:
    """Write PEFT folders of rank-16 bf16 adapters for all linear layers.

    A share of all factors is common to all adapters: 0 of independent ones, 1 of copies.
    """
    hidden, wide, narrow, layers, count = shape
    outs = {
        "self_attn.q_proj": (hidden, hidden), "self_attn.k_proj": (narrow, hidden),
        "self_attn.v_proj": (narrow, hidden), "self_attn.o_proj": (hidden, hidden),
        "mlp.gate_proj": (wide, hidden), "mlp.up_proj": (wide, hidden),
        "mlp.down_proj": (hidden, wide),
    }  # fmt: skip
    sizes = {f"model.layers.{n}.{name}": outs[name] for n in range(layers) for name in outs}
    paths = []
    for n in range(count):
        common = torch.Generator().manual_seed(seed)  # anew: 80 MiB for each, not 1.3 GiB for all
        own = torch.Generator().manual_seed(seed + 1 + n)
        factors = {
            name: (
                _drawn((RANK, d_in), common, own, shared),
                _drawn((d_out, RANK), common, own, shared),
            )
            for name, (d_out, d_in) in sizes.items()
        }
        paths.append(Adapter(factors, RANK, 16.0).save(folder / f"a{n}"))
    return paths


def _drawn(
    shape: tuple[int, int], common: torch.Generator, own: torch.Generator, shared: float
) -> torch.Tensor:
    """Return bf16 numbers that have a share in common with those of other adapters."""
    mixed = (1 - shared) * torch.randn(shape, generator=own)
    if shared:
        mixed += shared * torch.randn(shape, generator=common)
    return mixed.bfloat16()


def forget(paths: list[Path]) -> None:
    """Let the page cache forget the files, as far as the system obliges."""
    for path in paths:
        with (path / WEIGHTS_FILE).open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read_all(paths: list[Path]) -> int:
    """Look at every byte of the files through the same mapping that a merge uses."""
    total = 0
    for path in paths:
        with safe_open(path / WEIGHTS_FILE, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 - safetensors' handle is no mapping
                total += int(file.get_tensor(name).view(torch.int64).sum())
    return total


class Peak:
    """The most anonymous memory this process had inside the block, beyond its start."""

    def __enter__(self) -> Self:
        """Begin to watch."""
        self.start = self.most = anonymous_bytes()
        self._over = threading.Event()
        self._watch = threading.Thread(target=self._look, daemon=True)
        self._watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop watching."""
        self._over.set()
        self._watch.join()

    def _look(self) -> None:
        while not self._over.wait(0.005):
            self.most = max(self.most, anonymous_bytes())

    @property
    def added_mib(self) -> float:
        """In MiB."""
        return (self.most - self.start) / MIB


def anonymous_bytes() -> int:
    """Return this process' anonymous resident memory (Linux)."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return 0


def bench_files(*, quick: bool, seed: int, shared: float) -> Row:
    """Merge a set of adapters module by module into a folder."""
    shape = ONE_B if quick else EIGHT_B
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = write_set(folder, shape, seed, shared=shared)
        out = folder / "merged"
        recipe = hl.MergeRecipe(rank=RANK)

        os.sync()  # what is not written yet cannot be forgotten

        def ours() -> None:
            forget(paths)
            hl.merge(paths, recipe, out=out, dtype="bfloat16", progress=False)

        def reading() -> None:
            forget(paths)
            read_all(paths)

        ours()  # kernels and arenas are there now; what comes on top is the merge's own
        with Peak() as peak:
            ours()
        took, rival, spread = interleaved(ours, reading, 2 if quick else 3, clock=time.process_time)
    times, added = took / rival, peak.added_mib
    target = f"<= {READS_MAX:.0f} x, <= {ADDED_MAX_MIB:.0f} MiB"
    size = ("8B" if not quick else "1B, 4 layers") + (", half in common" if shared else "")
    return Row(
        f"{size}, n={shape[-1]}, disk to disk, +{added:.0f} MiB", took, rival,
        "reading the same files", "s", 1 / times, target,
        times <= READS_MAX and added <= ADDED_MAX_MIB, spread, rival,
    )  # fmt: skip
