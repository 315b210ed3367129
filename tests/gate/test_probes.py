"""Probes on a real small model: a bare adapter and a router are measured alike."""

import math

import pytest
import torch

from hivelearn.gate.gain import Gain, Unmeasured
from hivelearn.gate.probes import Probes, answer_losses, gain, gather, serving
from hivelearn.gate.rules import judge_expert, judge_merge
from hivelearn.inference.loading import load
from hivelearn.inference.resident import ResidentEngine
from hivelearn.patch.adapter import Adapter
from hivelearn.testing.models import small_model


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    return ResidentEngine(load(small_model(tmp_path_factory.mktemp("model")), "cpu"), b"b" * 32)


@pytest.fixture(scope="module")
def rows(engine):
    return [engine.encoder.pair(f"What follows {n}?", str(n + 1)) for n in range(24)]


def stepped(engine, rows, rate):
    """An adapter after ten plain gradient steps; a negative rate leads away from the answers."""
    chance = torch.Generator().manual_seed(0)
    factors = {
        module: (torch.randn(4, d_in, generator=chance) / d_in**0.5, torch.zeros(d_out, 4))
        for module, (d_out, d_in) in engine.shapes().items()
    }
    for _ in range(10):
        steps = engine.gradients([rows], Adapter(factors, 4, 8.0, engine.base), 0.0).factors
        factors = {
            module: (a - rate * steps[module][0], b - rate * steps[module][1])
            for module, (a, b) in factors.items()
        }
    return Adapter(factors, 4, 8.0, engine.base)


@pytest.fixture(scope="module")
def taught(engine, rows):
    return stepped(engine, rows, 0.1)


def test_losses_are_of_the_answer_one_a_row(engine, rows):
    losses = answer_losses(engine, rows, None)
    assert losses == engine.losses(rows, None, "answer")
    assert len(losses) == len(rows)


def test_a_taught_adapter_gains_and_its_withdrawal_loses(engine, rows, taught):
    base, candidate = serving(engine, None), serving(engine, taught)
    there = gain(rows, base, candidate, seed=1)
    back = gain(rows, candidate, base, seed=1)
    assert there.low > 0.05
    assert (back.mean, back.low) == (-there.mean, -there.high)
    mean = sum(base(rows)) / 24 - sum(candidate(rows)) / 24
    assert there.mean == pytest.approx(mean)


def test_the_same_adapter_twice_is_no_gain(engine, rows, taught):
    served = serving(engine, taught)
    assert gain(rows, served, served, seed=1) == Gain(0.0, 0.0, 0.0, 24)


def test_too_few_rows_cost_no_model_time(rows):
    def never(_rows):
        raise AssertionError("the model was asked")

    assert gain(rows[:7], never, never, seed=1) == Unmeasured("too little evidence, n=7")
    assert gain([], never, never, seed=1) == Unmeasured()


def test_gathered_evidence_goes_through_the_rules(engine, rows, taught):
    probes = Probes("counting", own=rows, others={"iso-date": rows[:3]}, base=())
    evidence = gather(probes, serving(engine, None), serving(engine, taught), seed=1)
    assert evidence.others == {"iso-date": Unmeasured("too little evidence, n=3")}
    assert evidence.base == Unmeasured()
    assert judge_merge(evidence).accepted
    withdrawn = gather(probes, serving(engine, taught), serving(engine, None), seed=1)
    assert judge_merge(withdrawn).code == "fit.no-lift"


def test_an_expert_behind_a_router_that_never_picks_it_does_no_harm(engine, rows):
    poison = stepped(engine, rows, -0.1)
    without = serving(engine, None)
    probes = Probes("counting", own=rows, base=rows)
    unpicked = gather(probes, without, without, seed=1)
    picked = gather(probes, without, serving(engine, poison), seed=1)
    assert judge_expert(unpicked, trusted=True).accepted
    verdict = judge_expert(picked, trusted=True)
    assert (verdict.code, verdict.fault) == ("fit.harm", "author")
    assert math.isfinite(verdict.measured)
