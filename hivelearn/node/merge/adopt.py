"""What serves from now on: a judged candidate, an own patch, a specialist just trained.

A candidate is what `node.merge(adopt=False)` leaves for a person to decide about.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from typing import Any

from hivelearn.errors import UsageError
from hivelearn.gate.gain import N_MIN, Gain, Measure, paired_gain, too_few
from hivelearn.node import measure, own_records
from hivelearn.node.ask import experts
from hivelearn.node.context import NodeContext
from hivelearn.node.events import Adopted
from hivelearn.node.reports import Outcome, RoundReport
from hivelearn.patch.envelope import Patch
from hivelearn.store.candidates import Candidate
from hivelearn.store.generations import Generation, Served
from hivelearn.store.shelf import State


class NoCandidateError(UsageError):
    """The report names no candidate that still waits."""

    remedy = "Run node.merge(domain, adopt=False) again and adopt its report."


def leave(context: NodeContext, trial: Generation, moves: Mapping[bytes, State]) -> int:
    """Keep a judged generation for later; return its number. The caller holds the writer lock.

    Args:
        context: the node.
        trial: what would serve; its number makes a stale adoption fail.
        moves: where on the shelf its patches would go.
    """
    detail = {
        "specialist": None if trial.specialist is None else _plain(trial.specialist),
        "experts": [_plain(served) for served in trial.experts],
        "number": trial.number,
        "why": trial.why,
        "moves": {patch.hex(): state for patch, state in moves.items()},
    }
    # A merge's blob has no row of its own yet; an expert's patch is on the shelf.
    payload = None if trial.specialist is None else trial.specialist.payload
    return context.store.candidates.leave(
        Candidate(
            base=context.base,
            domain=trial.domain,
            payload=payload,
            detail=json.dumps(detail),
            created_s=context.clock(),
        )
    )


def took_in(patches: Iterable[bytes]) -> str:
    """Return the report of a generation: what it admitted or merged, and a rollback takes out."""
    return json.dumps({"patches": sorted(patch.hex() for patch in patches)})


def _plain(served: Served) -> dict[str, Any]:
    patch = None if served.patch is None else served.patch.hex()
    return asdict(served) | {"patch": patch, "author": served.author.hex()}


def _served(plain: dict[str, Any]) -> Served:
    patch = None if plain["patch"] is None else bytes.fromhex(plain["patch"])
    return Served(**plain | {"patch": patch, "author": bytes.fromhex(plain["author"])})


def adopt_report(context: NodeContext, report: RoundReport) -> RoundReport:
    """Serve the candidate of a report; return the report with its new generation.

    Raises:
        NoCandidateError: there is none, or it was adopted already.
        StaleGenerationError: the domain has changed since it was judged.
        WrongStateError: a patch of it has been refused since.
    """
    with context.store.writing(f"adopt {report.domain}"):
        waiting = context.store.candidates.list(context.base, report.domain)
        found = next((c for c in waiting if c.number == report.candidate), None)
        if found is None:
            raise NoCandidateError(f"{report.domain}: no candidate of this report waits")
        detail = json.loads(found.detail)
        new = Generation(
            base=context.base,
            domain=report.domain,
            specialist=detail["specialist"] and _served(detail["specialist"]),
            experts=tuple(map(_served, detail["experts"])),
            why=detail["why"],
            created_s=context.clock(),
            number=detail["number"],
            report=took_in(map(bytes.fromhex, detail["moves"])),
        )
        with context.store.together():
            number = context.generations.commit(new)
            for patch, state in detail["moves"].items():
                context.shelf.move(bytes.fromhex(patch), state, reason=detail["why"])
            context.store.candidates.drop(found.number)
    context.events.publish(Adopted(replace(new, number=number)))
    outcome: Outcome = "adopted" if any(j.state == "merged" for j in report.patches) else "admitted"
    return replace(report, outcome=outcome, generation=number, candidate=None)


def adopt_patch(context: NodeContext, patch: Patch) -> RoundReport:
    """Serve an own sealed patch as its domain's specialist, unless it measures no better.

    With fewer than 20 held-out corrections nothing measures it: its owner asked for it,
    so it serves, and the report says "unmeasured".

    Raises:
        UsageError: the patch is somebody else's; those come in through `merge`.
    """
    if patch.body.base != context.base:  # first: no merge would ever see it here
        raise UsageError(
            f"the patch was made for base model {patch.body.base.hex()[:8]}",
            remedy="Adopt it on a node that opened that model.",
        )
    if patch.body.author != context.identity.author:
        raise UsageError(
            "only one's own patch can be adopted unjudged by others' rules",
            remedy=f"Run node.merge({patch.domain!r}): it judges what rests in quarantine.",
        )
    context.engine.check(patch.adapter)
    with context.store.writing(f"adopt {patch.domain}"):
        held = measure.holdout(context, patch.domain)
        own: Measure = too_few(len(held))
        if held:
            before = experts.current(context).serve(context.engine, patch.domain)(held)
            after = measure.losses(context, held, patch.adapter)
            own = paired_gain(before, after, seed=context.config.seed)
        if isinstance(own, Gain) and own.low <= 0:
            return RoundReport(patch.domain, "no lift", own)
        own_records.take_back(context, patch)  # from a folder it may be new here
        number = serve_specialist(context, patch, why=f"adopted. own {own}")
    return RoundReport(patch.domain, "adopted", own, generation=number)


def serve_specialist(context: NodeContext, patch: Patch, why: str) -> int:
    """Make ``patch`` its domain's specialist; return the generation's number.

    The caller holds the writer lock. With enough held out to judge by, the domain is
    the node's own from now on: the foreign experts leave, and the next merge judges
    them by the own evidence.
    """
    old = context.generations.current(context.base, patch.domain)
    foreign = old.experts if old else ()
    ours = len(measure.holdout(context, patch.domain)) >= N_MIN
    new = Generation(
        base=context.base,
        domain=patch.domain,
        specialist=as_served(context, patch),
        experts=() if ours else foreign,
        why=why,
        created_s=context.clock(),
    )
    with context.store.together():
        for expert in foreign if ours else ():
            entry = expert.patch and context.shelf.get(expert.patch)
            if entry and entry.state == "admitted":
                reason = "its domain has become this node's own"
                context.shelf.move(entry.id, "quarantined", reason=reason)
        number = context.generations.commit(new)
    context.events.publish(Adopted(replace(new, number=number)))
    return number


def as_served(context: NodeContext, patch: Patch) -> Served:
    """Return how a patch is served here: with the claim that this node grants it."""
    body, card = patch.body, patch.body.card
    claim = measure.granted(context, patch.adapter, card, patch.domain)
    return Served(
        patch=patch.id,
        payload=body.payload_root.hex(),
        author=body.author,
        median=card.median if card else None,
        ceiling=claim.ceiling if claim else None,
        floor=claim.floor if claim else None,
    )
