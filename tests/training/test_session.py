"""A training is a function of corrections, recipe and model: pauses change no bit of it."""

import contextlib
import itertools
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hivelearn.errors import UsageError
from hivelearn.inference.chat import Example
from hivelearn.inference.engine import Gradients, MissingCapabilityError
from hivelearn.training.checkpoint import CheckpointError, names_in
from hivelearn.training.optimizer import DivergedError
from hivelearn.training.pace import rate_at
from hivelearn.training.recipe import Recipe
from hivelearn.training.session import Lessons, TrainingSession

CHILD = Path(__file__).with_name("resume_child.py")


def trained(session):
    return list(session), session.adapter().to_bytes()


def test_interrupted_at_every_step_and_resumed_equals_uninterrupted(engine, examples, recipe):
    whole = TrainingSession(engine, examples, recipe, "words")
    steps, expected = trained(whole)
    assert [step.index for step in steps] == list(range(6))
    for cut in range(7):
        first = TrainingSession(engine, examples, recipe, "words")
        for _ in range(cut):
            first.step()
        second = TrainingSession(engine, examples, recipe, "words").restore(first.checkpoint())
        assert second.done == cut
        rest, adapter = trained(second)
        assert rest == steps[cut:]
        assert adapter == expected
        assert second.tokens == whole.tokens


def test_it_goes_on_in_another_process_bit_for_bit(engine, folder, examples, recipe, tmp_path):
    session = TrainingSession(engine, examples, recipe, "words")
    for _ in range(3):
        session.step()
    (tmp_path / "half").write_bytes(session.checkpoint())
    _, expected = trained(session)
    subprocess.run(
        [sys.executable, CHILD, folder, tmp_path / "half", tmp_path / "out"],
        check=True,
        timeout=300,  # against hanging alone: a busy machine imports slowly
    )
    assert (tmp_path / "out").read_bytes() == expected


def test_a_training_learns(engine, examples, recipe):
    steps, _ = trained(
        TrainingSession(engine, examples, replace(recipe, steps=20, batch=12), "words")
    )
    assert steps[-1].loss < steps[0].loss - 0.05


OTHERS = {
    "other corrections": (lambda examples, r: (examples[1:], r, "words"), "other corrections or"),
    "another order": (lambda examples, r: (examples[::-1], r, "words"), "other corrections or"),
    "another seed": (lambda examples, r: (examples, replace(r, seed=1), "words"), ": seed 0 → 1$"),
    "another rate": (
        lambda examples, r: (examples, replace(r, rate=0.02), "words"),
        ": rate 0.01 → 0.02$",
    ),
    "more steps": (lambda examples, r: (examples, replace(r, steps=7), "words"), ": steps 6 → 7$"),
    "fewer targets": (
        lambda examples, r: (examples, replace(r, targets=("q_proj",)), "words"),
        r": targets all-linear → \['q_proj'\]$",
    ),
    "another domain": (lambda examples, r: (examples, r, "numbers"), "other corrections or"),
}


@pytest.mark.parametrize(("other", "why"), OTHERS.values(), ids=OTHERS.keys())
def test_a_checkpoint_of_another_training_is_refused_and_says_what_changed(
    engine, examples, recipe, other, why
):
    session = TrainingSession(engine, examples, recipe, "words")
    session.step()
    stranger = TrainingSession(engine, *other(examples, recipe))
    before = stranger.checkpoint()
    with pytest.raises(CheckpointError) as refused:
        stranger.restore(session.checkpoint())
    assert re.search(why, refused.value.what)
    assert stranger.checkpoint() == before


def test_a_checkpoint_of_another_model_is_refused(engine, examples, recipe):
    session = TrainingSession(engine, examples, recipe, "words")
    kept = engine.base
    try:
        engine.base = bytes(32)
        stranger = TrainingSession(engine, examples, recipe, "words")
    finally:
        engine.base = kept
    assert stranger.adapter().to_bytes() != session.adapter().to_bytes()  # keyed by the base


def vectors_in(session):
    return safetensors.torch.load(session.checkpoint())


def remade(session, about=None, **vectors):
    kept = vectors_in(session)
    header = session.checkpoint()
    size = int.from_bytes(header[:8], "little")
    said = json.loads(json.loads(header[8 : 8 + size])["__metadata__"]["session"])
    said = said if about is None else about(said)
    return safetensors.torch.save(kept | vectors, metadata={"session": json.dumps(said)})


DAMAGED = {
    "empty": lambda s: b"",
    "cut": lambda s: s.checkpoint()[:-9],
    "no safetensors": lambda s: b"x" * 100,
    "a length beyond the file": lambda s: (2**62).to_bytes(8, "little") + b"{}",
    "no metadata": lambda s: safetensors.torch.save({"weights": torch.zeros(2)}),
    "a vector missing": lambda s: safetensors.torch.save(
        {"weights": torch.zeros(2)}, metadata={"session": "[]"}
    ),
    "a short vector": lambda s: remade(s, mean=torch.zeros(3)),
    "doubles": lambda s: remade(s, mean=vectors_in(s)["mean"].double()),
    "a later format": lambda s: remade(s, lambda a: ["3", *a[1:]]),
    "steps below zero": lambda s: remade(s, lambda a: [*a[:2], -1, *a[3:]]),
    "steps beyond the end": lambda s: remade(s, lambda a: [*a[:2], 7, *a[3:]]),
    "a curve of other steps": lambda s: remade(s, lambda a: [*a[:2], 2, *a[3:]]),
    "no curve": lambda s: remade(s, lambda a: [*a[:5], None, *a[6:]]),
    "a recipe that cannot train": lambda s: remade(
        s, lambda a: [*a[:4], [a[4][0], a[4][1] | {"rank": 0}], *a[5:]]
    ),
    "a recipe left open": lambda s: remade(
        s, lambda a: [*a[:4], [a[4][0], a[4][1] | {"steps": None}], *a[5:]]
    ),
    "steps that are no number": lambda s: remade(s, lambda a: [*a[:2], True, *a[3:]]),
    "tokens that are no number": lambda s: remade(s, lambda a: [*a[:3], None, *a[4:]]),
    "too little said": lambda s: remade(s, lambda a: a[:3]),
    "nothing said": lambda s: remade(s, lambda a: None),
}


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_checkpoint_is_refused_and_changes_nothing(engine, examples, recipe, damage):
    session = TrainingSession(engine, examples, recipe, "words")
    session.step()
    before = session.checkpoint()
    with pytest.raises(CheckpointError) as caught:
        session.restore(damage(session))
    assert "anew" in caught.value.remedy
    assert session.checkpoint() == before


def test_a_remade_checkpoint_is_otherwise_taken(engine, examples, recipe):
    session = TrainingSession(engine, examples, recipe, "words")
    session.step()
    assert TrainingSession(engine, examples, recipe, "words").restore(remade(session)).done == 1


def test_a_checkpoint_carries_the_names_of_its_examples(engine, examples, recipe):
    names = tuple(f"example {i}" for i in range(12))
    session = TrainingSession(engine, Lessons(tuple(examples), names), recipe, "words")
    assert names_in(session.checkpoint()) == names
    assert names_in(TrainingSession(engine, examples, recipe, "words").checkpoint()) == ()
    for damaged in (b"", remade(session, lambda a: [*a[:6], [1]]), remade(session, lambda a: 7)):
        with pytest.raises(CheckpointError, match="damaged"):
            names_in(damaged)


def test_no_corrections_are_an_error_with_a_remedy(engine, recipe):
    with pytest.raises(UsageError, match="no corrections to train on in 'words'") as caught:
        TrainingSession(engine, [], recipe, "words")
    assert "import_from" in caught.value.remedy


class Scripted:
    """An engine whose gradients are given: only the optimizer is at work."""

    name, base, width = "scripted", bytes(32), 64
    capabilities = frozenset({"gradients"})

    def __init__(self, script):
        self._script = iter(script)

    def shapes(self):
        return {"layer": (3, 4)}

    def gradients(self, *_):
        a, b = next(self._script)
        return Gradients(1.0, 1, {"layer": (a, b)})


def script(count, size=0.1):
    chance = torch.Generator().manual_seed(0)
    return [
        (torch.randn(2, 4, generator=chance) * size, torch.randn(3, 2, generator=chance) * size)
        for _ in range(count)
    ]


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_the_optimizer_is_torchs_adamw(examples, decay):
    """Reference: torch.optim.AdamW with clip_grad_norm_, fed the same gradients and rates."""
    recipe = Recipe(rank=2, steps=20, rate=0.01, clip=0.5, weight_decay=decay)
    given = script(20)
    session = TrainingSession(Scripted(given), examples, recipe, "words")
    start = session.adapter().factors["layer"]
    theirs = [torch.nn.Parameter(t.clone()) for t in start]
    optimizer = torch.optim.AdamW(
        theirs, betas=(recipe.beta1, recipe.beta2), eps=recipe.eps, weight_decay=decay
    )
    for index, gradient in enumerate(given):
        session.step()
        for parameter, grad in zip(theirs, gradient, strict=True):
            parameter.grad = grad.clone()
        torch.nn.utils.clip_grad_norm_(theirs, recipe.clip)
        optimizer.param_groups[0]["lr"] = rate_at(index, (), session.recipe)
        optimizer.step()
    for ours, reference in zip(session.adapter().factors["layer"], theirs, strict=True):
        torch.testing.assert_close(ours, reference.data, atol=1e-6, rtol=0)
        assert not torch.equal(reference.data, torch.zeros_like(reference))


def test_a_frozen_a_stays_as_it_was_to_the_bit(engine, examples, recipe):
    recipe = replace(recipe, freeze_a=True, weight_decay=0.1)
    session = TrainingSession(engine, examples, recipe, "words")
    before = session.adapter()
    trained(session)
    for name, (a, b) in session.adapter().factors.items():
        assert torch.equal(a, before.factors[name][0])
        assert not torch.equal(b, before.factors[name][1])


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_gradient_that_is_no_number_stops_before_it_spreads(examples, bad):
    given = [*script(2), (torch.full((2, 4), bad), torch.zeros(3, 2))]
    session = TrainingSession(
        Scripted(given), examples, Recipe(rank=2, steps=3, rate=0.01), "words"
    )
    session.step()
    session.step()
    before = session.checkpoint()
    with pytest.raises(DivergedError, match="words: step 2 has") as caught:
        session.step()
    assert "rate" in caught.value.remedy
    assert session.checkpoint() == before


class InterruptedAt:
    """Ctrl-C at the nth line that the training runs, for the length of a block."""

    def __init__(self, line):
        self.left = line

    def _trace(self, frame, event, _):
        if "hivelearn.training." not in frame.f_globals.get("__name__", ""):
            return None
        if event == "line":
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt
        return self._trace

    def __enter__(self):
        self.before = sys.gettrace()
        sys.settrace(self._trace)
        return self

    def __exit__(self, *_):
        sys.settrace(self.before)


def test_ctrl_c_at_any_line_of_a_step_leaves_the_state_before_it_or_after_it(examples):
    """Both come: the state is replaced whole, before the step is told."""
    recipe = Recipe(rank=2, steps=2, rate=0.01, weight_decay=0.1)

    def begun():
        session = TrainingSession(Scripted(script(2)), examples, recipe, "words")
        session.step()
        return session

    before = begun().checkpoint()
    whole = begun()
    whole.step()
    after = whole.checkpoint()
    found = []
    for line in itertools.count(1):
        session = begun()
        with InterruptedAt(line) as ctrl_c, contextlib.suppress(KeyboardInterrupt):
            session.step()
        found.append(session.checkpoint())
        if ctrl_c.left > 0:  # the step was over before
            break
    assert len(found) > 20
    assert set(found) == {before, after}
    assert found[0] == before
    assert found == sorted(found, key=[before, after].index)


class Noting(Scripted):
    """An engine that notes what it is given to learn from, and finds nothing to change."""

    def __init__(self):
        self.seen = []

    def gradients(self, microbatches, *_):
        self.seen.append([example for batch in microbatches for example in batch])
        return Gradients(1.0, 1, {"layer": (torch.zeros(1, 4), torch.zeros(3, 1))})


def seen_in(examples, recipe):
    engine = Noting()
    list(TrainingSession(engine, examples, recipe, "words"))
    return engine.seen


@settings(max_examples=30)
@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 3), st.integers(1, 4))
def test_every_example_comes_once_an_epoch(count, batch, seed, epochs):
    many = [Example((i, i), bytes([0, 2])) for i in range(count)]
    steps = -(-count * epochs // min(batch, count))
    recipe = Recipe(rank=1, batch=batch, seed=seed, steps=steps)
    seen = [example.tokens[0] for step in seen_in(many, recipe) for example in step]
    for epoch in range(epochs):
        assert sorted(seen[epoch * count : (epoch + 1) * count]) == list(range(count))


def test_epochs_differ_in_order_and_seeds_too(examples):
    recipe = Recipe(rank=1, batch=12, steps=2)
    orders = [
        tuple(step) for seed in (0, 1) for step in seen_in(examples, replace(recipe, seed=seed))
    ]
    assert len(set(orders)) == 4


def test_an_engine_without_gradients_is_refused_by_its_name(examples, recipe):
    engine = Scripted([])
    engine.capabilities = frozenset({"generate", "losses"})
    with pytest.raises(MissingCapabilityError, match=r"training needs gradients, .*'scripted'"):
        TrainingSession(engine, examples, recipe, "words")
