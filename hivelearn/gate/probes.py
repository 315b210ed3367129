"""The costly part of the gate: examples and a running model to evidence.

A probe compares two ways of serving the same examples. What "serving" is comes as a
function, so that one probe measures a bare adapter and the whole router alike:
a merge is compared adapter against adapter, an expert with the pool against the
pool without it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from hivelearn.gate.gain import N_MIN, Measure, paired_gain, too_few
from hivelearn.gate.rules import Evidence

if TYPE_CHECKING:
    from hivelearn.inference.chat import Example
    from hivelearn.inference.engine import Engine
    from hivelearn.patch.adapter import Adapter

Serve: TypeAlias = "Callable[[Sequence[Example]], list[float]]"  # answer losses as served


@dataclass(frozen=True, slots=True)
class Probes:
    """The examples that a node judges with; none of them was trained on."""

    domain: str
    own: "Sequence[Example]" = ()  # own holdout of ``domain``
    others: "Mapping[str, Sequence[Example]]" = field(
        default_factory=dict
    )  # own holdouts elsewhere
    base: "Sequence[Example]" = ()  # shipped general texts


def answer_losses(
    engine: "Engine", examples: "Sequence[Example]", adapter: "Adapter | None"
) -> list[float]:
    """Return mean nats per answer token, one an example; NaN for an example without an answer."""
    return engine.losses(examples, adapter, "answer")


def serving(engine: "Engine", adapter: "Adapter | None") -> Serve:
    """Return the way of serving that sends every example to ``adapter`` (None: the base)."""
    return lambda examples: answer_losses(engine, examples, adapter)


def gain(examples: "Sequence[Example]", before: Serve, after: Serve, *, seed: int) -> Measure:
    """Return the gain on ``examples`` from serving as ``before`` to serving as ``after``.

    Too few examples to judge by cost no model time.
    """
    if len(examples) < N_MIN:
        return too_few(len(examples))
    return paired_gain(before(examples), after(examples), seed=seed)


def gather(probes: Probes, before: Serve, after: Serve, *, seed: int) -> Evidence:
    """Return the gains on every probe of a change in serving."""
    return Evidence(
        probes.domain,
        own=gain(probes.own, before, after, seed=seed),
        others={
            name: gain(examples, before, after, seed=seed)
            for name, examples in sorted(probes.others.items())
        },
        base=gain(probes.base, before, after, seed=seed),
    )
