"""The costly part of the gate: rows and a running model to evidence.

A probe compares two ways of serving the same rows. What "serving" is comes as a
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
    """The rows that a node judges with; none of them was trained on."""

    domain: str
    own: "Sequence[Example]" = ()  # own holdout of ``domain``
    others: "Mapping[str, Sequence[Example]]" = field(
        default_factory=dict
    )  # own holdouts elsewhere
    base: "Sequence[Example]" = ()  # shipped general texts


def answer_losses(
    engine: "Engine", rows: "Sequence[Example]", adapter: "Adapter | None"
) -> list[float]:
    """Return mean nats per answer token, one a row; NaN for a row without an answer."""
    return engine.losses(rows, adapter, "answer")


def serving(engine: "Engine", adapter: "Adapter | None") -> Serve:
    """Return the way of serving that sends every row to ``adapter`` (None: the base)."""
    return lambda rows: answer_losses(engine, rows, adapter)


def gain(rows: "Sequence[Example]", before: Serve, after: Serve, *, seed: int) -> Measure:
    """Return the gain on ``rows`` from serving as ``before`` to serving as ``after``.

    Too few rows to judge by cost no model time.
    """
    if len(rows) < N_MIN:
        return too_few(len(rows))
    return paired_gain(before(rows), after(rows), seed=seed)


def gather(probes: Probes, before: Serve, after: Serve, *, seed: int) -> Evidence:
    """Return the gains on every probe of a change in serving."""
    return Evidence(
        probes.domain,
        own=gain(probes.own, before, after, seed=seed),
        others={
            name: gain(rows, before, after, seed=seed)
            for name, rows in sorted(probes.others.items())
        },
        base=gain(probes.base, before, after, seed=seed),
    )
