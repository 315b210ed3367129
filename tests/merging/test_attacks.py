"""What somebody did to this room in an hour, and what it says to that now."""

import math

import pytest
import torch

from hivelearn import codec
from hivelearn.codec import CodecError
from hivelearn.merging.errors import MergeError
from hivelearn.merging.lowrank.factors import Size
from hivelearn.merging.lowrank.sketch import signs, width
from hivelearn.merging.lowrank.truncate import truncate
from hivelearn.merging.merge import merge
from hivelearn.merging.recipe.recipe import MergeRecipe
from hivelearn.patch.adapter import Adapter

M = "model.layers.0.self_attn.q_proj"


def drawn(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def adapter(a, b):
    return Adapter({M: (a, b)}, a.shape[0], float(a.shape[0]))


@pytest.mark.parametrize("method", ["core_ties", "core_sce", "core_breadcrumbs_ties"])
@pytest.mark.parametrize("third", [False, True])
def test_a_tie_of_opposite_deltas_does_not_hang_on_how_they_are_factored(method, third):
    a, b = drawn(1, 4, 40), drawn(2, 48, 4)
    more = [adapter(drawn(3, 4, 40), drawn(4, 48, 4))] if third else []
    one = merge([adapter(a, b), adapter(a, -b), *more], method=method).delta(M)
    order, flip = torch.tensor([2, 0, 3, 1]), torch.tensor([1.0, -1.0, -1.0, 1.0])
    turned = [
        adapter((flip[:, None] * a)[order], sign * (b * flip)[:, order]) for sign in (1.0, -1.0)
    ]
    other = merge([*turned, *more], method=method).delta(M)
    assert float((one - other).norm()) <= 1e-4 * max(1.0, float(one.norm()))


@pytest.mark.parametrize("size", [1e-4, 1e-6, 1e-8])
def test_a_stack_is_not_lost_below_the_range_of_float16(size):
    sources = [adapter(drawn(n, 8, 64), size * drawn(n + 9, 64, 8)) for n in (1, 2)]
    exact = sum(one.delta(M) for one in sources) / 2
    made = merge(sources, rank="stack", dtype="float16").delta(M)
    assert float((made - exact).norm() / exact.norm()) < 0.01


@pytest.mark.parametrize(("count", "rank"), [(20, 8), (40, 8)])
def test_the_norm_of_a_high_stack_is_measured(count, rank):
    falling = torch.tensor([1.0] + [0.01] * (rank - 1))
    common = drawn(1, rank, 300) * falling[:, None]
    sources = [
        adapter(common + 0.001 * drawn(n, rank, 300), drawn(2, 280, rank)) for n in range(count)
    ]
    found, report = merge(sources, rank="stack", report=True, study=False)
    assert report.merged[M] == pytest.approx(float(found.delta(M).norm()), rel=0.01)


def test_factors_chosen_to_hide_from_a_known_sketch_are_found():
    rank, count, d = 16, 20, 1024
    blind = signs(d, width(rank) + 16, "").double()
    basis = torch.linalg.qr(blind)[0]
    hidden = drawn(1, rank, d).double()
    hidden = (hidden - hidden @ basis @ basis.T).float()
    a = torch.cat([3.0 * hidden, drawn(2, rank * (count - 1), d)])
    b = drawn(3, d, rank * count)
    others = torch.linalg.qr(b[:, rank:])[0]
    b[:, :rank] -= others @ (others.T @ b[:, :rank])
    whole = b.double() @ a.double()
    values = torch.linalg.svdvals(whole)
    best = float(values[rank:].norm())
    known = truncate(a, b, Size(rank), "")
    made = truncate(a, b, Size(rank))
    gaps = [float((x.b.double() @ x.a.double() - whole).norm()) for x in (known, made)]
    assert gaps[0] > 1.01 * best  # who knows the key can hide
    assert gaps[1] <= 1.01 * best


def test_bytes_that_are_not_the_one_encoding_are_no_recipe():
    recipe = MergeRecipe("ties", params={"density": 0.3, "lam": 2.0})
    data = recipe.to_bytes()
    assert MergeRecipe.from_bytes(data) == recipe
    table = codec.decode(data)
    for params in (list(reversed(table[3])), [*table[3], table[3][0]]):
        with pytest.raises(CodecError, match="canonical"):
            MergeRecipe.from_bytes(codec.encode({**table, 3: params}))
    for energy in ("x", [1]):
        with pytest.raises(MergeError, match="no recipe"):
            MergeRecipe.from_bytes(codec.encode({**table, 5: energy}))


@pytest.mark.parametrize("out", ["a\0b", "\ud800", ""])
def test_a_name_that_no_folder_can_have_is_refused(out):
    with pytest.raises(MergeError, match="cannot be written"):
        merge([adapter(drawn(1, 2, 6), drawn(2, 5, 2))], out=out)


@pytest.mark.parametrize("score", ["good", None, [1.0], math.nan])
def test_a_score_that_is_no_number_is_refused(score):
    sources = [adapter(drawn(n, 2, 6), drawn(n + 9, 5, 2)) for n in (1, 2)]
    with pytest.raises(MergeError, match="validate returned"):
        merge(sources, "auto", validate=lambda _: score)
