"""Probes on a real small model: a bare adapter and a router are measured alike."""

import math

import pytest
import torch

from hivelearn.gate.gain import Gain, Unmeasured
from hivelearn.gate.probes import Probes, answer_losses, gain, gather, serving
from hivelearn.gate.rules import judge_expert, judge_merge
from hivelearn.inference.loading import load_model
from hivelearn.inference.resident import ResidentEngine
from hivelearn.patch.adapter import Adapter
from hivelearn.testing.models import small_model


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    return ResidentEngine(
        load_model(small_model(tmp_path_factory.mktemp("model")), "cpu"), b"b" * 32
    )


@pytest.fixture(scope="module")
def examples(engine):
    return [engine.encoder.pair(f"What follows {n}?", str(n + 1)) for n in range(24)]


def stepped(engine, examples, rate):
    """An adapter after ten plain gradient steps; a negative rate leads away from the answers."""
    chance = torch.Generator().manual_seed(0)
    factors = {
        module: (torch.randn(4, d_in, generator=chance) / d_in**0.5, torch.zeros(d_out, 4))
        for module, (d_out, d_in) in engine.shapes().items()
    }
    for _ in range(10):
        steps = engine.gradients([examples], Adapter(factors, 4, 8.0, engine.base), 0.0).factors
        factors = {
            module: (a - rate * steps[module][0], b - rate * steps[module][1])
            for module, (a, b) in factors.items()
        }
    return Adapter(factors, 4, 8.0, engine.base)


@pytest.fixture(scope="module")
def taught(engine, examples):
    return stepped(engine, examples, 0.1)


def test_losses_are_of_the_answer_one_an_example(engine, examples):
    losses = answer_losses(engine, examples, None)
    assert losses == engine.losses(examples, None, "answer")
    assert len(losses) == len(examples)


def test_a_taught_adapter_gains_and_its_withdrawal_loses(engine, examples, taught):
    base, candidate = serving(engine, None), serving(engine, taught)
    there = gain(examples, base, candidate, seed=1)
    back = gain(examples, candidate, base, seed=1)
    assert there.low > 0.05
    assert (back.mean, back.low) == (-there.mean, -there.high)
    mean = sum(base(examples)) / 24 - sum(candidate(examples)) / 24
    assert there.mean == pytest.approx(mean)


def test_the_same_adapter_twice_is_no_gain(engine, examples, taught):
    served = serving(engine, taught)
    assert gain(examples, served, served, seed=1) == Gain(0.0, 0.0, 0.0, 24)


def test_too_few_examples_cost_no_model_time(examples):
    def never(_examples):
        raise AssertionError("the model was asked")

    assert gain(examples[:7], never, never, seed=1) == Unmeasured("too little evidence, n=7")
    assert gain([], never, never, seed=1) == Unmeasured()


def test_gathered_evidence_goes_through_the_rules(engine, examples, taught):
    probes = Probes("counting", own=examples, others={"iso-date": examples[:3]}, base=())
    evidence = gather(probes, serving(engine, None), serving(engine, taught), seed=1)
    assert evidence.others == {"iso-date": Unmeasured("too little evidence, n=3")}
    assert evidence.base == Unmeasured()
    assert judge_merge(evidence).accepted
    withdrawn = gather(probes, serving(engine, taught), serving(engine, None), seed=1)
    assert judge_merge(withdrawn).code == "fit.no-lift"


def test_an_expert_behind_a_router_that_never_picks_it_does_no_harm(engine, examples):
    poison = stepped(engine, examples, -0.1)
    without = serving(engine, None)
    probes = Probes("counting", own=examples, base=examples)
    unpicked = gather(probes, without, without, seed=1)
    picked = gather(probes, without, serving(engine, poison), seed=1)
    assert judge_expert(unpicked, trusted=True).accepted
    verdict = judge_expert(picked, trusted=True)
    assert (verdict.code, verdict.fault) == ("fit.harm", "author")
    assert math.isfinite(verdict.measured)
