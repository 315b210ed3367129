"""Which expert knows this question, and when none does.

Trained with its prompts at a tenth of the weight, an expert is less surprised by
the user's words in its own domain than elsewhere. Two numbers tell how a prompt
looks to an expert: its *loss*, and the *ratio*, by how much more the base model is
surprised. The loss alone would take "What is the capital of France?" for everybody's,
because it surprises nobody; the ratio sees that the base knew it as well.

An expert *claims* a prompt whose loss is below its ceiling and whose ratio is above its
floor. Its author measures both on a holdout; whoever receives it raises the floor above
what the expert makes of ordinary prompts and of the receiver's own other domains.

How far a prompt lies inside a claim means nothing: the margin would grow with what an
author says of himself. Of several that claim a prompt the senior answers, unless a junior
takes clearly more of the base's surprise away; and whom the owner vouches for yields to
nobody else. Nobody claims it: the base answers.

Prompt loss is mean nats per token of the user's words, template excluded.

Source: the ratio is that of Ren et al. 2019, arXiv:1906.02845 (likelihood ratios for
out-of-distribution detection), with the base model as their background model.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from statistics import median
from typing import Final

from hivelearn.inference.route import Route
from hivelearn.patch.manifest import SIGNED_LOSS_MAX, RouterCard

CARD_PROMPTS_MIN: Final = 20  # below, the edges of a holdout mean nothing: no claim at all
_STRAY_IN: Final = 40  # one prompt in so many may lie outside: a slip of a pen moves no edge
_RANGE_SHARE: Final = 0.25  # of the holdout's range, for questions that nobody held out
_SLACK: Final = 0.05  # nats
# Times the senior's ratio. No training takes more surprise away than there is, so whoever
# has learnt two thirds of what its own questions have keeps them from every copy.
_CLEARLY: Final = 1.5
_LEAST: Final = 0.05  # nats; a ratio below it is noise


@dataclass(frozen=True, slots=True)
class Surprise:
    """How one prompt looks to one expert."""

    loss: float  # nats per token of the user's words
    ratio: float  # by how much more the base is surprised, nats per token


@dataclass(frozen=True, slots=True)
class Claim:
    """Which prompts are an expert's own, as far as it is believed."""

    ceiling: float  # of the loss
    floor: float  # of the ratio

    def holds(self, seen: Surprise) -> bool:
        """Say whether a prompt that looks so is claimed; one without words never is."""
        return seen.loss < self.ceiling and seen.ratio > self.floor


def surprises(losses: Sequence[float], base_losses: Sequence[float]) -> list[Surprise]:
    """Return how prompts look to an expert, from its losses on them and the base's."""
    pairs = zip(losses, base_losses, strict=True)
    return [Surprise(loss, base - loss) for loss, base in pairs]


def card(own: Sequence[Surprise]) -> RouterCard | None:
    """Return the router card of an expert from how its own holdout's prompts look to it.

    Ceiling and floor lie a quarter of the holdout's range beyond its edges. Fewer than
    20 prompts make no card: the expert is then reachable by its name or domain only.
    """
    if len(own) < CARD_PROMPTS_MIN:
        return None
    losses, ratios = [each.loss for each in own], [-each.ratio for each in own]
    return RouterCard(median(losses), _beyond(losses), max(0.0, -_beyond(ratios)))


def _beyond(values: Sequence[float]) -> float:
    low, high = min(values), _edge(values)
    return min(high + _RANGE_SHARE * (high - low) + _SLACK, SIGNED_LOSS_MAX)


def _edge(values: Sequence[float]) -> float:
    """Return the highest value, but for one in forty."""
    return sorted(values)[-1 - len(values) // _STRAY_IN]


def granted(claimed: RouterCard, foreign: Iterable[Sequence[Surprise]]) -> Claim:
    """Return the claim that a receiver grants: above what is not the expert's own.

    Args:
        claimed: the expert's card.
        foreign: how the receiver's texts look to the expert: ordinary prompts, and the
            holdouts of the receiver's *other* domains, each kind for itself.

    Without this an expert could claim every prompt. A kind of text lets one prompt in
    forty through: among ordinary prompts there may be one that is the expert's business.
    """
    kinds = [[each.ratio for each in kind if not isnan(each.ratio)] for kind in foreign]
    edges = [_edge(ratios) for ratios in kinds if ratios]
    return Claim(claimed.ceiling, max([claimed.floor, _LEAST, *edges]))


@dataclass(frozen=True, slots=True)
class ExpertProfile:
    """What the router must know of one expert."""

    id: str
    domain: str
    claim: Claim | None  # None: by name or stated domain only
    trusted: bool = True  # False: in the sandbox, by name only
    own: bool = False  # this node's own specialist of its domain
    vouched: bool = False  # its author: by the owner, and not by its work alone
    author: bytes = b""  # empty: none who could bring a better one


def route(seen: Mapping[str, Surprise], experts: Sequence[ExpertProfile]) -> Route:
    """Return who answers a prompt whose domain nobody stated.

    Args:
        seen: how the prompt looks, by expert id, for the experts with a claim.
        experts: senior first.
    """
    claiming = [
        each
        for each in experts
        if each.trusted and each.claim is not None and each.claim.holds(seen[each.id])
    ]
    if not claiming:
        return Route((), "base", None)
    best = _settled(claiming, seen)
    return Route((best,), "routed", seen[best].ratio)


def _settled(contenders: Sequence[ExpertProfile], seen: Mapping[str, Surprise]) -> str:
    """Return the senior of ``contenders`` or the first junior that is clearly better.

    A junior that was trained on the senior's questions is as little surprised as can
    be, and so is the senior: neither can leave less than the questions' own entropy.

    Whose expert it is may have brought a later one of its domain: people improve what they
    made. That one answers, if it contends as well; it has no seat of its own before others.
    """
    best = contenders[0]
    for junior in contenders[1:]:
        enough = _CLEARLY * max(seen[best.id].ratio, _LEAST)
        if seen[junior.id].ratio >= enough and (junior.vouched or not best.vouched):
            best = junior
    made = (best.author, best.domain)
    later = [each for each in contenders if each.author and (each.author, each.domain) == made]
    return later[-1].id if later else best.id


def eligible(domain: str, experts: Sequence[ExpertProfile]) -> list[ExpertProfile]:
    """Return who may answer when the user states the domain: the own specialist before others.

    The own one was judged against own corrections before it served. How little a
    foreign one is surprised by a question says nothing of how well it answers.
    """
    inside = [e for e in experts if e.domain == domain and e.trusted]
    return [e for e in inside if e.own] or inside


def by_domain(domain: str, seen: Mapping[str, Surprise], experts: Sequence[ExpertProfile]) -> Route:
    """Return who answers when the user states the domain: the senior, or who is clearly better.

    Args:
        domain: as stated.
        seen: how the prompt looks, by expert id, where more than one is eligible.
        experts: senior first.
    """
    inside = eligible(domain, experts)
    if not inside:
        return Route((), "base", None)
    best = _settled(inside, seen) if len(inside) > 1 else inside[0].id
    return Route((best,), "stated", None)
