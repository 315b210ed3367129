"""What a person decides after reading a report: adopt it, adopt an own patch, or go back."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from typing import Any

from hivelearn.errors import UsageError
from hivelearn.gate.gain import Gain, Measure, paired_gain, too_few
from hivelearn.node import evidence, feed, learning, panel
from hivelearn.node.reports import MergeReport, Outcome
from hivelearn.node.workbench import Workbench
from hivelearn.patch.envelope import Patch
from hivelearn.store.generations import Generation, Served
from hivelearn.store.pauses import Candidate
from hivelearn.store.shelf import State


class NoCandidateError(UsageError):
    """The report names no candidate that still waits."""

    remedy = "Run node.merge(domain, adopt=False) again and adopt its report."


def leave(bench: Workbench, trial: Generation, moves: Mapping[bytes, State]) -> int:
    """Keep a judged generation for later; return its number. The caller holds the writer lock.

    Args:
        bench: the node.
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
    return bench.store.pauses.leave(
        Candidate(
            base=bench.base,
            domain=trial.domain,
            payload=payload,
            detail=json.dumps(detail),
            created_s=bench.world.clock(),
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


def adopt_report(bench: Workbench, report: MergeReport) -> MergeReport:
    """Serve the candidate of a report; return the report with its new generation.

    Raises:
        NoCandidateError: there is none, or it was adopted already.
        StaleGenerationError: the domain has changed since it was judged.
        WrongStateError: a patch of it has been refused since.
    """
    with bench.store.writing(f"adopt {report.domain}"):
        waiting = bench.store.pauses.candidates(bench.base, report.domain)
        found = next((c for c in waiting if c.number == report.candidate), None)
        if found is None:
            raise NoCandidateError(f"{report.domain}: no candidate of this report waits")
        detail = json.loads(found.detail)
        new = Generation(
            base=bench.base,
            domain=report.domain,
            specialist=detail["specialist"] and _served(detail["specialist"]),
            experts=tuple(map(_served, detail["experts"])),
            why=detail["why"],
            created_s=bench.world.clock(),
            number=detail["number"],
            report=took_in(map(bytes.fromhex, detail["moves"])),
        )
        with bench.store.together():
            number = bench.store.generations.commit(new)
            for patch, state in detail["moves"].items():
                bench.store.shelf.move(bytes.fromhex(patch), state, reason=detail["why"])
            bench.store.pauses.drop(found.number)
    outcome: Outcome = "adopted" if any(j.state == "merged" for j in report.patches) else "admitted"
    return replace(report, outcome=outcome, generation=number, candidate=None)


def adopt_patch(bench: Workbench, patch: Patch) -> MergeReport:
    """Serve an own sealed patch as its domain's specialist, unless it measures no better.

    With fewer than 20 held-out corrections nothing measures it: its owner asked for it,
    so it serves, and the report says "unmeasured".

    Raises:
        UsageError: the patch is somebody else's; those come in through `merge`.
    """
    if patch.body.base != bench.base:  # first: no merge would ever see it here
        raise UsageError(
            f"the patch was made for base model {patch.body.base.hex()[:8]}",
            remedy="Adopt it on a node that opened that model.",
        )
    if patch.body.author != bench.identity.author:
        raise UsageError(
            "only one's own patch can be adopted unjudged by others' rules",
            remedy=f"Run node.merge({patch.domain!r}): it judges what rests in quarantine.",
        )
    bench.engine.check(patch.adapter)
    with bench.store.writing(f"adopt {patch.domain}"):
        held = evidence.holdout(bench, patch.domain)
        own: Measure = too_few(len(held))
        if held:
            before = panel.current(bench).serve(bench.engine, patch.domain)(held)
            after = bench.engine.losses(held, patch.adapter, "answer")
            own = paired_gain(before, after, seed=bench.config.seed)
        if isinstance(own, Gain) and own.low <= 0:
            return MergeReport(patch.domain, "no lift", own)
        feed.shelve(bench, patch)  # a patch loaded from a folder may be new here
        number = learning.commit_specialist(bench, patch, why=f"adopted. own {own}")
    return MergeReport(patch.domain, "adopted", own, generation=number)


def rollback(bench: Workbench, domain: str) -> Generation:
    """Serve the previous state of a domain again, as a new generation.

    What the undone one admitted or merged rests in the sandbox: reachable by name, judged
    again when somebody asks for a merge, and not by a night, which would undo by the
    morning what its owner did.

    Raises:
        NothingToRollBackError: nothing was ever adopted there, or all is undone.
    """
    store = bench.store
    with store.writing(f"roll back {domain}"), store.together():
        restored = store.generations.rollback(bench.base, domain, bench.world.clock())
        for expert in restored.experts:  # what serves again waits for no judgement
            entry = expert.patch and store.shelf.get(expert.patch)
            if entry and entry.state in ("quarantined", "sandboxed", "merged"):
                store.shelf.move(entry.id, "admitted", reason=restored.why)
        _take_back(bench, restored)
        return restored


def _take_back(bench: Workbench, restored: Generation) -> None:
    """Send to the sandbox what the undone generation took in and nothing serves any more."""
    assert restored.undoes is not None
    shelf, notes = bench.store.shelf, bench.store.notes
    history = bench.store.generations.history(bench.base, restored.domain)
    undone = json.loads(history[restored.undoes - 1].report)
    serving = {expert.patch for expert in restored.experts}
    gone = []
    for name in undone.get("patches", ()):
        entry = shelf.get(bytes.fromhex(name))
        if entry and entry.id not in serving and entry.state in ("admitted", "merged"):
            shelf.move(entry.id, "sandboxed", reason=restored.why)
            gone.append(name)
    key = _setting(bench, restored.domain)
    notes.set(key, sorted({*notes.setting(key, ()), *gone}))


def taken_back(bench: Workbench, domain: str) -> set[bytes]:
    """Return the patches that a rollback took out, and that nobody asked to judge again since."""
    return {bytes.fromhex(name) for name in bench.store.notes.setting(_setting(bench, domain), ())}


def give_back(bench: Workbench, domain: str) -> None:
    """Let them be judged like all others. The caller holds the writer lock."""
    bench.store.notes.unset(_setting(bench, domain))


def _setting(bench: Workbench, domain: str) -> str:
    return f"taken back/{bench.base.hex()}/{domain}"
