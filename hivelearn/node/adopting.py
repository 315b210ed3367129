"""What a person decides after reading a report: adopt a candidate, a patch of one's own, or go back."""

import json
from dataclasses import replace

from hivelearn.errors import UsageError
from hivelearn.gate.gain import Gain, Measure, paired_gain, too_few
from hivelearn.node import evidence, learning, panel
from hivelearn.node.reports import MergeReport
from hivelearn.node.workbench import Workbench
from hivelearn.patch.envelope import Patch
from hivelearn.store.generations import Generation, Served
from hivelearn.store.pauses import Candidate


class NoCandidateError(UsageError):
    """The report names no candidate that still waits."""

    remedy = "Run node.merge(domain, adopt=False) again and adopt its report."


def leave(bench: Workbench, trial: Generation, moved: dict[str, float]) -> int:
    """Keep a judged merge for later; return its number. The caller holds the writer lock."""
    assert trial.specialist is not None
    detail = {
        "median": trial.specialist.median,
        "ceiling": trial.specialist.ceiling,
        "number": trial.number,
        "why": trial.why,
        "moved": moved,
    }
    return bench.store.pauses.leave(
        Candidate(
            base=bench.base,
            domain=trial.domain,
            payload=trial.specialist.payload,
            detail=json.dumps(detail),
            created_s=bench.world.clock(),
        )
    )


def adopt_report(bench: Workbench, report: MergeReport) -> MergeReport:
    """Serve the candidate of a report; return the report with its new generation.

    Raises:
        NoCandidateError: there is none, or it was adopted already.
        StaleGenerationError: the domain has changed since it was judged.
    """
    with bench.store.writing(f"adopt {report.domain}"):
        waiting = bench.store.pauses.candidates(bench.base, report.domain)
        found = next((c for c in waiting if c.number == report.candidate), None)
        if found is None or found.payload is None:
            raise NoCandidateError(f"{report.domain}: no candidate of this report waits")
        detail = json.loads(found.detail)
        old = bench.store.generations.current(bench.base, report.domain)
        served = Served(
            None, found.payload, bench.identity.author, detail["median"], detail["ceiling"]
        )
        new = Generation(
            base=bench.base,
            domain=report.domain,
            specialist=served,
            experts=old.experts if old else (),
            why=detail["why"],
            created_s=bench.world.clock(),
            number=detail["number"],
        )
        with bench.store.together():
            number = bench.store.generations.commit(new)
            for patch in detail["moved"]:
                bench.store.shelf.move(bytes.fromhex(patch), "merged", reason=detail["why"])
            bench.store.pauses.drop(found.number)
    return replace(report, outcome="adopted", generation=number, candidate=None)


def adopt_patch(bench: Workbench, patch: Patch) -> MergeReport:
    """Serve an own sealed patch as its domain's specialist, if it measures better.

    Raises:
        UsageError: the patch is somebody else's; those come in through `merge`.
    """
    if patch.body.author != bench.identity.author:
        raise UsageError(
            "only one's own patch can be adopted unjudged by others' rules",
            remedy=f"Run node.merge({patch.domain!r}): it judges what rests in quarantine.",
        )
    with bench.store.writing(f"adopt {patch.domain}"):
        held = evidence.holdout(bench, patch.domain)
        own: Measure = too_few(len(held))
        if held:
            before = panel.current(bench).serve(bench.engine, patch.domain)(held)
            after = bench.engine.losses(held, patch.adapter, "answer")
            own = paired_gain(before, after, seed=bench.config.seed)
        if isinstance(own, Gain) and own.low <= 0:
            return MergeReport(patch.domain, "no lift", own)
        number = learning.commit_specialist(bench, patch, why=f"adopted. own {own}")
    return MergeReport(patch.domain, "adopted", own, generation=number)


def rollback(bench: Workbench, domain: str) -> Generation:
    """Serve the previous state of a domain again, as a new generation.

    Raises:
        NothingToRollBackError: nothing was ever adopted there, or all is undone.
    """
    with bench.store.writing(f"roll back {domain}"):
        return bench.store.generations.rollback(bench.base, domain, bench.world.clock())

