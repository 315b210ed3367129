"""Robust rules against byzfl 0.0.11: its aggregators' numbers, and its attacks.

Figures of attacks are distances to the honest mean, in units of its norm. Hostile
patches are what an attacker can ship: the attack's best approximation of rank 8.
"""

import importlib.util
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

from hivelearn.merging.deltas import LoraDelta
from hivelearn.merging.methods import krum, robust
from hivelearn.merging.methods.geometry import linear
from hivelearn.merging.methods.gram import gram

SHAPE, RANK, HONEST = (48, 40), 8, 20


@pytest.fixture(scope="module")
def byzfl():
    """Its rules and attacks, without the top package, which imports torchvision and seaborn."""
    spec = importlib.util.find_spec("byzfl")
    if spec is None:
        pytest.skip("byzfl is not installed: pip install --no-deps byzfl scipy")
    package = ModuleType("byzfl")
    package.__path__ = list(spec.submodule_search_locations)
    package.__spec__ = spec
    sys.modules["byzfl"] = package
    rules = importlib.import_module("byzfl.aggregators.aggregators")
    mixers = importlib.import_module("byzfl.aggregators.preaggregators")
    attacks = importlib.import_module("byzfl.attacks.attacks")
    yield SimpleNamespace(rules=rules, mixers=mixers, attacks=attacks)
    for name in [name for name in sys.modules if name.split(".")[0] == "byzfl"]:
        del sys.modules[name]


def patches(count, seed=0, *, spread=0.35):
    """Rank-8 patches, half of whose rank is what all have in common."""
    chance = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=chance)
    half = RANK // 2
    a, b = draw(half, SHAPE[1]), draw(SHAPE[0], half)
    return [
        LoraDelta(
            torch.cat([a, draw(half, SHAPE[1])]),
            torch.cat([b, spread * draw(SHAPE[0], half)], dim=1),
            0.5,
            1.0,
        )
        for _ in range(count)
    ]


def dense(parts):
    return torch.stack([part.scale * (part.b @ part.a).flatten() for part in parts])


def shipped(vector):
    """The best patch of rank 8 for an attack vector."""
    u, values, vt = torch.linalg.svd(vector.view(SHAPE).double(), full_matrices=False)
    roots = values[:RANK].sqrt()
    return LoraDelta((roots[:, None] * vt[:RANK]).float(), (u[:, :RANK] * roots).float(), 1.0, 1.0)


def merged(rule, parts, weights=None, **params):
    weights = torch.ones(len(parts)).double() if weights is None else weights
    return (rule(gram(parts), weights, **params) @ dense(parts).double()).float()


def gap(found, expected):
    return float((found.double() - expected.double()).norm() / expected.double().norm())


def crowd(byzfl):
    """Nine honest patches and three hostile ones."""
    honest = patches(9)
    return honest + [shipped(byzfl.attacks.SignFlipping()(dense(honest)))] * 2 + patches(1, 9)


@pytest.mark.parametrize("hostile", [0, 1, 3, 5])
def test_krum_and_multi_krum_are_byzfls(byzfl, hostile):
    parts = crowd(byzfl)
    rival = byzfl.rules.Krum(f=hostile)(dense(parts))
    assert gap(merged(krum.krum, parts, hostile=hostile), rival) < 1e-6
    rival = byzfl.rules.MultiKrum(f=hostile)(dense(parts))
    assert gap(merged(krum.multi_krum, parts, hostile=hostile), rival) < 1e-6


@pytest.mark.parametrize("hostile", [0, 1, 3, 5])
def test_nnm_and_monna_are_byzfls(byzfl, hostile):
    parts = crowd(byzfl)
    phi = hostile / len(parts)
    mixed = byzfl.mixers.NNM(f=hostile)(dense(parts))
    assert gap(merged(robust.nnm, parts, phi=phi), mixed.mean(dim=0)) < 1e-6
    for own in (0, 4):
        rival = byzfl.rules.MoNNA(f=hostile, idx=own)(dense(parts))
        assert gap(merged(robust.monna, parts, phi=phi, own=own), rival) < 1e-6


def test_rules_after_mixing_are_byzfls(byzfl):
    parts = crowd(byzfl)
    even = torch.full((12,), 1 / 12).double()
    inner = gram(parts)
    mixing = robust.nearest_mixing(inner, even, phi=3 / 12)
    mixed = byzfl.mixers.NNM(f=3)(dense(parts))
    for rule, params, rival in (
        (krum.multi_krum, {"hostile": 3}, byzfl.rules.MultiKrum(f=3)),
        (robust.geometric_median, {}, byzfl.rules.GeometricMedian(nu=1e-6, T=1000)),
    ):
        found = rule(mixing @ inner @ mixing.T, even, **params) @ mixing
        assert gap(found @ dense(parts).double(), rival(mixed)) < 1e-5


@pytest.mark.parametrize("count", [1, 3, 7, 12])
def test_the_geometric_median_is_byzfls(byzfl, count):
    parts = crowd(byzfl)[-count:]
    rival = byzfl.rules.GeometricMedian(nu=1e-6, T=3000)(dense(parts))
    assert gap(merged(robust.geometric_median, parts), rival) < 1e-5


@pytest.mark.parametrize("rounds", [1, 2, 20])
@pytest.mark.parametrize("radius", [0.5, 1.0])
def test_centred_clip_is_byzfls_with_the_median_distance_as_its_constant(byzfl, rounds, radius):
    parts = crowd(byzfl)
    flat = dense(parts)
    rival, centre = byzfl.rules.CenteredClipping(L=1), torch.zeros(flat.shape[1])
    for _ in range(rounds):
        rival.tau = radius * float(np.median((flat - centre).norm(dim=1)))
        centre = rival(flat)  # it goes on from where it was
    assert gap(merged(robust.centred_clip, parts, radius=radius, rounds=rounds), centre) < 1e-5


def vectors(byzfl, honest, hostile, weights):
    """Attack vectors by name; the last two search for what moves `robust` most."""
    t, flat = byzfl.attacks, dense(honest)
    noise = torch.randn(flat.shape[1], generator=torch.Generator().manual_seed(5))
    yield "sign flip", t.SignFlipping()(flat)
    for size in (0.1, 2.0, 1e3, 1e8):
        yield f"inner product {size:g}", t.InnerProductManipulation(size)(flat)
    yield "a little", t.ALittleIsEnough(1.5)(flat)
    for place in (4, 9, 12):  # those of the twenty whose mimics move most
        yield f"mimic {place}", t.Mimic(epsilon=place)(flat)
    yield "zero", torch.zeros_like(flat[0])
    yield "noise", noise * flat.norm() / (len(flat) * flat.shape[1]) ** 0.5
    if hostile <= HONEST:
        merge = lambda rows: merged(robust.robust, [shipped(row) for row in rows], weights)
        search = {"agg": merge, "pre_agg_list": [], "f": hostile, "evals": 6}
        yield "optimal a little", t.Optimal_ALittleIsEnough(**search)(flat.clone())
        yield "optimal product", t.Optimal_InnerProductManipulation(**search)(flat.clone())


@pytest.mark.parametrize(
    ("hostile", "mass", "bound"),
    # Measured with mimicry: 0.126, 0.288, 0.144, 0.262; with all else at most 0.057.
    [(4, 4 / 24, 0.15), (16, 16 / 36, 0.32), (180, 0.2, 0.17), (180, 0.4, 0.30)],
)
def test_robust_stays_with_the_honest_under_every_attack(byzfl, hostile, mass, bound):
    honest = patches(HONEST)
    centre = dense(honest).mean(dim=0)
    share = [(1 - mass) / HONEST] * HONEST + [mass / hostile] * hostile
    weights = torch.tensor(share).double()
    for name, vector in vectors(byzfl, honest, hostile, weights):
        parts = honest + [shipped(vector)] * hostile
        moved = gap(merged(robust.robust, parts, weights), centre)
        assert moved < (bound if "mimic" in name else 0.08), name


def test_the_same_attacks_carry_a_mean_away_and_sybils_carry_multi_krum(byzfl):
    """Else the bounds above would prove nothing."""
    honest = patches(HONEST)
    centre = dense(honest).mean(dim=0)
    loud = shipped(byzfl.attacks.InnerProductManipulation(1e3)(dense(honest)))
    assert gap(merged(linear, [*honest, *[loud] * 4]), centre) > 100
    weights = torch.tensor([0.8 / HONEST] * HONEST + [0.2 / 180] * 180).double()
    assert gap(merged(krum.multi_krum, honest + [loud] * 180, weights), centre) > 100
