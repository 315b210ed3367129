"""Entrywise merges against mergekit 0.1.5 and PEFT's arithmetic on dense float32 deltas.

Normal deltas have no two equal magnitudes, where mergekit would keep an arbitrary few.
"""

import pytest
import torch

from hivelearn.merging.deltas import DenseDeltas
from hivelearn.merging.methods.philox import bernoulli
from hivelearn.merging.recipe.method_table import operator

merge_methods = pytest.importorskip("mergekit.merge_methods")
peft_merge = pytest.importorskip("peft.utils.merge_utils")

SHAPE = (37, 29)
WEIGHTS = {"mean": [0.25] * 4, "unequal": [0.1, 0.9, 0.4, 1.7], "one": [0.6]}
DENSITIES = [0.05, 0.2, 0.5, 0.9, 1.0, None]  # None: of each delta its own
KEYS = [bytes([n]) * 32 for n in range(4)]
ROWS = slice(0, SHAPE[0])


def made(count):
    chance = torch.Generator().manual_seed(7)
    return [torch.randn(SHAPE, generator=chance) * (1 + n) for n in range(count)]


def each(density, count):
    return [0.15, 0.35, 0.62, 0.8][:count] if density is None else [density] * count


def ours(name, deltas, weights, **settings):
    read = {
        key: torch.tensor(value) if isinstance(value, list) else value
        for key, value in settings.items()
    }
    rows = operator(name).load()(DenseDeltas(deltas), torch.tensor(weights), read, KEYS)
    return torch.cat([block for _, block in rows()])


def mergekit(name, deltas, weights, **settings):
    parameters = {"weight": weights, **settings}
    tensors = [torch.zeros(SHAPE), *deltas]
    return merge_methods.merge_tensors(tensors, name, parameters=parameters, base_index=0)


def same(merged, expected):
    """Within 1e-5, and within 1e-6 of the largest where terms cancel."""
    torch.testing.assert_close(merged, expected, rtol=1e-5, atol=1e-6 * float(expected.abs().max()))


@pytest.fixture
def our_chance(monkeypatch):
    """Let torch draw what we draw: the n-th call is the n-th delta's."""
    keys = iter(KEYS)

    def drawn(probability):
        return bernoulli(next(keys), ROWS, SHAPE[1], probability).float()

    monkeypatch.setattr(torch, "bernoulli", drawn)


@pytest.mark.parametrize("density", DENSITIES)
@pytest.mark.parametrize("weights", WEIGHTS.values(), ids=WEIGHTS.keys())
@pytest.mark.parametrize(("normalize", "lam"), [(True, 1.0), (False, 1.0), (True, 0.3)])
@pytest.mark.parametrize("rescale", ["none", "l1"])
def test_ties_is_mergekits(density, weights, normalize, lam, rescale):
    deltas, shares = made(len(weights)), each(density, len(weights))
    expected = mergekit(
        "ties",
        deltas,
        weights,
        density=shares,
        normalize=normalize,
        rescale=rescale == "l1",
        **{"lambda": lam},
    )
    merged = ours(
        "ties",
        deltas,
        weights,
        density=shares,
        normalize=normalize,
        lam=lam,
        rescale=rescale,
    )
    same(merged, expected)


@pytest.mark.parametrize("name", ["breadcrumbs", "breadcrumbs_ties"])
@pytest.mark.parametrize("density", DENSITIES)
@pytest.mark.parametrize("gamma", [0.0, 0.01, 0.3, 1.0])
@pytest.mark.parametrize("normalize", [True, False])
def test_breadcrumbs_are_mergekits(name, density, gamma, normalize):
    weights = WEIGHTS["unequal"]
    settings = {"density": each(density, 4), "gamma": [gamma] * 4, "normalize": normalize}
    expected = mergekit(name, made(4), weights, **settings)
    same(ours(name, made(4), weights, **settings), expected)


@pytest.mark.parametrize("name", ["dare_linear", "dare_ties", "della", "della_linear"])
@pytest.mark.parametrize("density", [0.2, 0.5, 1.0, None])
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("rescale", ["none", "l1"])
def test_dare_and_della_are_mergekits_under_the_same_chance(
    our_chance, name, density, normalize, rescale
):
    weights = WEIGHTS["unequal"]
    settings = {"density": each(density, 4), "normalize": normalize}
    if name.startswith("della"):
        settings["epsilon"] = [0.1, 0.05, 0.12, 0.0]
    expected = mergekit(name, made(4), weights, rescale=rescale == "l1", **settings)
    merged = ours(name, made(4), weights, rescale=rescale, **settings)
    same(merged, expected)


@pytest.mark.parametrize("name", ["ties", "dare_linear", "dare_ties", "magnitude_prune"])
@pytest.mark.parametrize("density", [0.3, 0.7])
def test_peft_agrees_where_its_weights_are_one(our_chance, name, density):
    """PEFT divides by how many agree, not by their weights; with weights of 1 that is one thing."""
    expected = getattr(peft_merge, name)(made(4), torch.ones(4), density)
    merged = ours(name, made(4), [1.0] * 4, density=[density] * 4, normalize="ties" in name)
    same(merged, expected)


def test_the_defaults_are_mergekits_but_for_chance():
    """ties and della normalise; what is drawn is divided by its probability, else nothing is."""
    weights, density = WEIGHTS["unequal"], {"density": [0.4] * 4}
    for name in ("ties", "breadcrumbs", "breadcrumbs_ties"):
        more = {"gamma": [0.01] * 4} if "bread" in name else {}
        expected = mergekit(name, made(4), weights, **density, **more)
        merged = ours(name, made(4), weights, **density, **more)
        same(merged, expected)
    normalised = {"dare_linear": False, "dare_ties": False, "della": True, "della_linear": False}
    for name, normalize in normalised.items():
        more = {"epsilon": [0.1] * 4} if "della" in name else {}
        silent = ours(name, made(4), weights, **density, **more)
        spoken = {"normalize": normalize, "rescale": "probability"}
        assert torch.equal(silent, ours(name, made(4), weights, **density, **more, **spoken))


@pytest.mark.parametrize("top", [0.01, 0.2, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("count", [2, 3, 4])
def test_sce_is_mergekits(top, count):
    deltas = made(count)
    deltas[0][:5] = deltas[1][:5]  # for two deltas, entries without variance
    expected = merge_methods.merge_tensors(
        [torch.zeros(SHAPE), *deltas], "sce", parameters={"select_topk": top}, base_index=0
    )
    merged = ours("sce", deltas, [0.3] * count, select_topk=top)
    same(merged, expected)
