"""The next trunk is the sum of products that it says it is, cut to its rank and no further."""

import pytest
import torch

from hivelearn.patch.adapter import Adapter
from hivelearn.trunk.step import Move, change_norm, next_trunk

SHAPES = {"layers.0.up": (7, 5), "layers.1.up": (6, 8)}


def adapter(seed, rank=2, alpha=4.0):
    chance = torch.Generator().manual_seed(seed)
    factors = {
        name: (
            torch.randn(rank, columns, generator=chance),
            torch.randn(rows, rank, generator=chance),
        )
        for name, (rows, columns) in SHAPES.items()
    }
    return Adapter(factors, rank, alpha, b"b" * 32)


def delta(one, name):
    return torch.zeros(SHAPES[name]) if one is None else one.delta(name)


def nearest(matrix, rank):
    u, s, v = torch.linalg.svd(matrix.double(), full_matrices=False)
    return (u[:, :rank] * s[:rank]) @ v[:rank]


TRUNK, BEFORE, OLD = adapter(1), adapter(2), adapter(3)
CASES = {
    "the first round": (None, None, [Move(adapter(4), None, 0.5), Move(adapter(5), None, 0.5)]),
    "with a trunk": (TRUNK, None, [Move(adapter(4), TRUNK, 0.5), Move(adapter(5), TRUNK, 0.5)]),
    "not all is given": (TRUNK, BEFORE, [Move(adapter(4), TRUNK, 0.3)]),
    "a late part": (TRUNK, BEFORE, [Move(adapter(4), TRUNK, 0.5), Move(adapter(5), OLD, 0.25)]),
}


@pytest.mark.parametrize("momentum", [0.0, 0.3])
@pytest.mark.parametrize(("trunk", "before", "moves"), CASES.values(), ids=CASES.keys())
def test_a_trunk_is_what_the_formula_says(trunk, before, moves, momentum):
    step = next_trunk(trunk, before, moves, momentum, rank=2)
    squared = lost = 0.0
    for name in SHAPES:
        wanted = delta(trunk, name).double()
        for move in moves:
            wanted += move.factor * (delta(move.part, name) - delta(move.onto, name))
        if trunk is not None:
            wanted += momentum * (delta(trunk, name) - delta(before, name))
        cut = nearest(wanted, 2)
        torch.testing.assert_close(step.adapter.delta(name).double(), cut, atol=1e-4, rtol=1e-4)
        squared, lost = (
            squared + float(wanted.norm() ** 2),
            lost + float((wanted - cut).norm() ** 2),
        )
    assert step.lost == pytest.approx((lost / squared) ** 0.5, abs=1e-4)
    assert step.adapter.rank == 2


def test_with_rank_enough_nothing_is_lost():
    moves = [Move(adapter(4), TRUNK, 0.5), Move(adapter(5), TRUNK, 0.5)]
    assert next_trunk(TRUNK, None, moves, rank=5).lost < 1e-5


def test_a_part_that_changed_nothing_leaves_the_trunk():
    step = next_trunk(TRUNK, None, [Move(TRUNK, TRUNK, 1.0)])
    for name in SHAPES:
        torch.testing.assert_close(step.adapter.delta(name), TRUNK.delta(name))


@pytest.mark.parametrize("onto", [None, TRUNK])
def test_how_large_a_part_is_means_what_it_adds_to_its_trunk(onto):
    one = adapter(4, rank=3)
    true = sum(float((delta(one, n) - delta(onto, n)).double().norm() ** 2) for n in SHAPES) ** 0.5
    assert change_norm(one, onto) == pytest.approx(true, rel=1e-5)
