"""Which expert knows this question, and when none does.

Trained with its prompts at a tenth of the weight, an expert is less surprised
by the user's words in its own domain than elsewhere. Each expert has a ceiling:
the prompt loss above which a question is not its own. The expert furthest below
its ceiling answers; none below, and the base answers. "Lowest loss wins" would
send every question of the base to some expert (0 of 60 abstentions measured;
with ceilings 60 of 60).

Prompt loss is mean nats per token of the user's words, template excluded.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from hivelearn.inference.route import Route
from hivelearn.patch.manifest import RouterCard

CARD_PROMPTS_MIN: Final = 5  # below, a maximum over the holdout means nothing
_RANGE_SHARE: Final = 0.25
_SLACK: Final = 0.05  # nats
_BELOW_FOREIGN: Final = 0.02  # nats


def card(prompt_losses: Sequence[float]) -> RouterCard | None:
    """Return the router card of an expert from its own holdout's prompt losses.

    The ceiling is ``max + (max − min) / 4 + .05``. Fewer than five prompts make
    no card: the expert is then reachable by its name or domain only.
    """
    if len(prompt_losses) < CARD_PROMPTS_MIN:
        return None
    low, high = min(prompt_losses), max(prompt_losses)
    return RouterCard(median(prompt_losses), high + _RANGE_SHARE * (high - low) + _SLACK)


def lowered(claimed: float, foreign_losses: Sequence[float]) -> float:
    """Return the ceiling a receiver grants: below the expert's losses on what is not its own.

    Args:
        claimed: the ceiling on the expert's card.
        foreign_losses: its prompt losses on the receiver's base texts and on the
            holdouts of the receiver's *other* domains.

    Without this an expert could claim every prompt by a high ceiling.
    """
    return min([claimed, *(loss - _BELOW_FOREIGN for loss in foreign_losses)])


@dataclass(frozen=True, slots=True)
class ExpertProfile:
    """What the router must know of one expert."""

    id: str
    domain: str
    ceiling: float | None  # None: by name or stated domain only
    trusted: bool = True  # False: in the sandbox, by name only
    own: bool = False  # this node's own specialist of its domain


def route(losses: Mapping[str, float], experts: Sequence[ExpertProfile]) -> Route:
    """Return who answers a prompt whose domain nobody stated.

    Args:
        losses: prompt loss by expert id, for the experts that have a ceiling.
        experts: in a fixed order; ties go to the earlier.
    """
    best: ExpertProfile | None = None
    margin = 0.0
    for expert in experts:
        if expert.ceiling is None or not expert.trusted:
            continue
        below = expert.ceiling - losses[expert.id]
        if below > margin:
            best, margin = expert, below
    if best is None:
        return Route((), "base", None)
    return Route((best.id,), "routed", margin)


def eligible(domain: str, experts: Sequence[ExpertProfile]) -> list[ExpertProfile]:
    """Return who may answer when the user states the domain: the own specialist before others.

    The own one was judged against own corrections before it served. How little a
    foreign one is surprised by a question says nothing of how well it answers.
    """
    inside = [e for e in experts if e.domain == domain and e.trusted]
    return [e for e in inside if e.own] or inside


def by_domain(domain: str, losses: Mapping[str, float], experts: Sequence[ExpertProfile]) -> Route:
    """Return who answers when the user states the domain: the least surprised of the eligible.

    Args:
        domain: as stated.
        losses: prompt loss by expert id, where more than one is eligible.
        experts: in a fixed order; ties go to the earlier.
    """
    inside = eligible(domain, experts)
    if not inside:
        return Route((), "base", None)
    best = min(inside, key=lambda e: losses.get(e.id, float("inf")))
    return Route((best.id,), "stated", None)
