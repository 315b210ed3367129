"""What does a merge of LoRA adapters cost, against PEFT and mergekit?

Claim: one thread, CPU time, 16 adapters of rank 16 in bf16 (and 64 where the row says so).
       Exact linear merge with recompression to rank 16: 500 x faster than PEFT `svd`, error
       ≤ 1.01 x the optimum. A whole 8B adapter set from disk to disk, of independent adapters and
       of such with half in common: ≤ 16 x a pass that only reads the files, ≤ 64 MiB of added
       anonymous memory. Karcher, multislerp, model stock,
       geometric median: 100 x faster than on dense deltas, slerp 4 x. Dense TIES with exact
       thresholds: 20 x mergekit's; in the core 200 x. TIES and DARE-TIES on factors with a
       shared A: 4 x PEFT's. The floor is one copy of the input's bytes.
Run:   python benchmarks/bench_merge.py --quick --json out.json
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from merge_files import bench_files
from merge_rivals import Pair, byzfl_median, dense, mergekit_call, peft_call
from timing import Row, arguments, interleaved, report
from torch import Tensor

from hivelearn.merging.deltas import LoraDelta
from hivelearn.merging.lowrank.factors import Factors, Size
from hivelearn.merging.methods.gram import gram
from hivelearn.merging.recipe.method_table import operator
from hivelearn.merging.run import one_module

RANK = 16
SHARED = 0.7  # of every adapter's factors is common to all, as among adapters of one domain
ERROR_MAX = 1.01
CORE_FACTOR = 200


@dataclass(frozen=True)
class Work:
    """Shapes and counts of a run."""

    square: tuple[int, int]
    tall: tuple[int, int]
    dense: tuple[int, int]  # for rivals that take minutes
    count: int  # of adapters there
    many: int
    rounds: int
    rival_rounds: int


FULL = Work((4096, 4096), (14336, 4096), (4096, 4096), 16, 64, 7, 1)
# Narrower layers would flatter nobody: a ratio falls with the width, so quick has fewer adapters.
QUICK = Work((4096, 4096), (14336, 4096), (3072, 3072), 4, 64, 5, 1)


def adapters(shape: tuple[int, int], count: int, seed: int, *, one_a: bool = False) -> list[Pair]:
    """Return rank-16 bf16 factors that share a common part, as adapters of one domain do."""
    chance = torch.Generator().manual_seed(seed)
    d_out, d_in = shape
    a = torch.randn(RANK, d_in, generator=chance) / d_in**0.5
    b = torch.randn(d_out, RANK, generator=chance)
    found = []
    for _ in range(count):
        own_a = a if one_a else a * SHARED + (1 - SHARED) * torch.randn(a.shape, generator=chance)
        own_b = b * SHARED + (1 - SHARED) * torch.randn(b.shape, generator=chance)
        found.append((own_a.bfloat16(), own_b.bfloat16()))
    return found


def parts_of(pairs: list[Pair]) -> list[LoraDelta]:
    """Return them as a merge sees them, each with its share of the mean."""
    return [
        LoraDelta(a, b, 1.0, 1.0 / len(pairs), n.to_bytes(32, "big"))
        for n, (a, b) in enumerate(pairs)
    ]


def floor_of(pairs: list[Pair]) -> float:
    """Return the CPU seconds of one copy of all factors."""
    copies = [(torch.empty_like(a), torch.empty_like(b)) for a, b in pairs]
    times = []
    for _ in range(6):
        began = time.process_time()
        for (a, b), (x, y) in zip(pairs, copies, strict=True):
            x.copy_(a)
            y.copy_(b)
        times.append(time.process_time() - began)
    return min(times)


def row(
    work: str,
    ours: Callable[[], object],
    rival: Callable[[], object] | None,
    name: str,
    factor: float,
    pairs: list[Pair],
    how: Work,
) -> Row:
    """Measure one line of the claim, in CPU seconds."""
    target = f">= {factor:,.0f} x faster"
    if rival is None:
        mine, _, spread = interleaved(ours, ours, how.rounds, clock=time.process_time)
        return Row(
            work, mine, None, f"{name} is not installed", "s", None, target, holds=False,
            spread=spread, floor=floor_of(pairs),
        )  # fmt: skip
    mine, theirs, spread = interleaved(
        ours, rival, how.rounds, clock=time.process_time, rival_rounds=how.rival_rounds
    )
    return Row(
        work, mine, theirs, name, "s", theirs / mine, target, theirs >= factor * mine, spread,
        floor_of(pairs),
    )  # fmt: skip


def linear(pairs: list[Pair]) -> Factors:
    """Return the exact mean at rank 16."""
    return one_module.merge_factors(operator("linear"), parts_of(pairs), {}, Size(RANK))


def bench_linear(shape: tuple[int, int], count: int, seed: int, how: Work) -> Row:
    """Exact mean, recompressed; its error is checked against the best there is."""
    pairs = adapters(shape, count, seed)
    found = row(
        f"exact linear, {shape[0]}x{shape[1]}, n={count}",
        lambda: linear(pairs),
        peft_call(pairs, combination_type="svd", svd_rank=RANK),
        "PEFT svd", 500, pairs, how,
    )  # fmt: skip
    ratio = error_ratio(pairs)
    held = found.holds and ratio <= ERROR_MAX
    return replace(found, holds=held, work=f"{found.work}, error x{ratio:.4f}")


def error_ratio(pairs: list[Pair]) -> float:
    """Return the error of our rank-16 mean over the least possible (Eckart and Young)."""
    made = linear(pairs)
    a = torch.cat([a for a, _ in pairs]).double()
    b = torch.cat([b for _, b in pairs], dim=1).double() / len(pairs)
    left, right = torch.linalg.qr(b)[1], torch.linalg.qr(a.T)[1]
    values = torch.linalg.svdvals(left @ right.T)
    # ‖Δ − M‖² from thin products: the difference is one stack of rank R + 16.
    stack_a = torch.cat([a, made.a.double()])
    stack_b = torch.cat([b, -made.b.double()], dim=1)
    squared = ((stack_a @ stack_a.T) * (stack_b.T @ stack_b)).sum()
    return float(squared.sqrt() / values[RANK:].norm())


def coefficients(method: str, pairs: list[Pair]) -> Tensor:
    """Return a method's coefficients, the Gram matrix included."""
    inner = gram(parts_of(pairs))
    weights = torch.full((len(pairs),), 1.0 / len(pairs), dtype=torch.float64)
    found: Tensor = operator(method).load()(inner, weights)
    return found


def merged(method: str, pairs: list[Pair]) -> Factors:
    """Return the whole merge by coefficients, as factors that lose nothing."""
    found = coefficients(method, pairs).tolist()
    parts = [LoraDelta(a, b, 1.0, c) for (a, b), c in zip(pairs, found, strict=True)]
    return one_module.merge_factors(operator(method), parts, {}, Size(RANK * len(pairs)))


def bench_geometry(seed: int, how: Work) -> list[Row]:
    """Methods that need nothing but inner products, beside the same on dense deltas."""
    pairs = adapters(how.dense, how.count, seed)
    deltas = dense(pairs)
    rivals = {
        "karcher": (mergekit_call(deltas, "karcher", base=False), "mergekit"),
        "multislerp": (mergekit_call(deltas, "multislerp", weight=1.0), "mergekit"),
        "model_stock": (mergekit_call(deltas, "model_stock"), "mergekit"),
        "geometric_median": (byzfl_median(deltas), "byzfl"),
    }
    size = f"{how.dense[0]}x{how.dense[1]}, n={how.count}"
    rows = [
        row(f"{name}, {size}", lambda name=name: coefficients(name, pairs), rival, whose, 100,
            pairs, how)
        for name, (rival, whose) in rivals.items()
    ]  # fmt: skip
    two = pairs[:2]
    slerp = mergekit_call(deltas[:2], "slerp", base=False, t=0.5)
    ours = lambda: merged("slerp", two)  # noqa: E731
    return [
        *rows,
        row(f"slerp, {how.dense[0]}x{how.dense[1]}, n=2", ours, slerp, "mergekit", 4, two, how),
    ]


def bench_ties(seed: int, how: Work) -> list[Row]:
    """TIES on whole deltas, and in the joint core, beside mergekit's on dense deltas."""
    pairs = adapters(how.dense, how.count, seed)
    parts = parts_of(pairs)
    settings = {"density": torch.full((how.count,), 0.2), "lam": 1.0, "normalize": True}

    def stream() -> None:
        for _ in one_module.merge_rows(operator("ties"), parts, settings)():
            pass

    def core() -> None:
        one_module.merge_factors(operator("core_ties"), parts, settings, Size(RANK * how.count))

    rival = mergekit_call(dense(pairs), "ties", weight=1.0, density=0.2)
    size = f"{how.dense[0]}x{how.dense[1]}, n={how.count}"
    whole = row(f"dense TIES, {size}", stream, rival, "mergekit", 20, pairs, how)
    took = whole.rival
    inner = row(f"core TIES, {size}", core, None, "mergekit dense TIES", CORE_FACTOR, pairs, how)
    if took is None:
        return [whole, inner]
    ratio, name = took / inner.ours, "mergekit dense TIES"
    held = ratio >= CORE_FACTOR  # against the same run of the rival: it takes a minute
    return [whole, replace(inner, rival=took, ratio=ratio, rival_name=name, holds=held)]


def bench_shared(seed: int, how: Work) -> list[Row]:
    """Element by element on the Bs of one A, beside the same call of PEFT."""
    pairs = adapters(how.square, 16, seed, one_a=True)
    rows = []
    for method in ("ties", "dare_ties"):
        settings = {"density": torch.full((16,), 0.5), "lam": 1.0, "normalize": method == "ties"}
        ours = operator(f"shared_{method}")
        rows.append(
            row(
                f"shared-A {method}, {how.square[0]}x{how.square[1]}, n=16",
                lambda ours=ours, settings=settings: one_module.merge_factors(
                    ours, parts_of(pairs), dict(settings), Size(RANK)
                ),
                peft_call(pairs, combination_type=method, density=0.5),
                f"PEFT {method}", 4, pairs, how,
            )
        )  # fmt: skip
    return rows


def measure(*, quick: bool, seed: int) -> list[Row]:
    """Return all rows."""
    torch.set_num_threads(1)
    how = QUICK if quick else FULL
    rows = [bench_linear(how.square, 16, seed, how)]
    if not quick:
        rows.append(bench_linear(how.tall, 16, seed, how))
        rows.append(bench_linear(how.square, how.many, seed, how))
    rows += [bench_files(quick=quick, seed=seed, shared=shared) for shared in (0.0, 0.5)]
    rows += bench_geometry(seed, how)
    rows += bench_ties(seed, how)
    return rows + bench_shared(seed, how)


def main() -> None:
    """Measure, print, write."""
    asked = arguments(__doc__ or "")
    report(__doc__ or "", measure(quick=asked.quick, seed=asked.seed), asked.json)


if __name__ == "__main__":
    main()
