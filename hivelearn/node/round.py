"""One run of `node.merge`: what it knows, and how it ends, all at once or not at all.

What a round decides is collected and written in one transaction at its end:
moves on the shelf, the generation, what it says of authors. A crash in the
middle of a long judgement leaves everything where it was.
"""

from dataclasses import dataclass, field

from hivelearn.gate.gain import N_MIN, Measure, Unmeasured
from hivelearn.gate.probes import Probes
from hivelearn.gate.rules import Evidence
from hivelearn.identity import short_name
from hivelearn.node import adopting, people
from hivelearn.node.reports import Judged, MergeReport, Outcome
from hivelearn.node.workbench import Workbench
from hivelearn.patch.verdict import Verdict
from hivelearn.store.generations import Generation
from hivelearn.store.shelf import State
from hivelearn.trust.standing import Judgement


@dataclass
class Round:
    """What is known so far."""

    bench: Workbench
    domain: str
    now: tuple[Generation, ...]  # what serves, all domains
    probes: Probes
    gains: dict[bytes, Measure] = field(default_factory=dict)  # patch -> alone, against the base
    judged: list[Judged] = field(default_factory=list)
    _moves: list[tuple[bytes, State, Verdict]] = field(default_factory=list)
    _said: dict[bytes, tuple[bytes, Judgement]] = field(default_factory=dict)

    @property
    def incumbent(self) -> Generation:
        """What serves the domain now; an empty one before its first generation."""
        found = next((g for g in self.now if g.domain == self.domain), None)
        return found or Generation(
            self.bench.base, self.domain, None, (), "", self.bench.world.clock()
        )

    @property
    def ours(self) -> bool:
        """Whether the domain has a specialist and enough own evidence to judge a merge."""
        return self.incumbent.specialist is not None and len(self.probes.own) >= N_MIN

    def settle(
        self,
        patch: bytes,
        author: bytes,
        state: State,
        verdict: Verdict,
        weight: float | None = None,
    ) -> None:
        """Decide where a patch goes and what that says of its author."""
        gain = self.gains.get(patch, Unmeasured())
        self._moves.append((patch, state, verdict))
        self.judged.append(Judged(patch.hex(), short_name(author), verdict, state, gain, weight))
        said = people.judgement(gain)
        if verdict.fault == "author":
            said = "harm" if "harm" in (said, verdict.code.removeprefix("fit.")) else "failure"
        if said is not None:
            self._said[patch] = (author, said)

    def conclude(
        self,
        outcome: Outcome,
        own: Measure,
        found: Evidence | None = None,
        *,
        new: Generation | None = None,
        adopt: bool = True,
        why: str = "",
    ) -> MergeReport:
        """Write the round down and tell it.

        Args:
            outcome: as the report calls it.
            own: gain on the own holdout.
            found: the evidence that decided, if any was gathered.
            new: what shall serve the domain from now on.
            adopt: False leaves ``new`` as a candidate, and what it is made of in its place.
            why: the sentence of a refusal.
        """
        bench, number, candidate = self.bench, None, None
        accepted = {patch: state for patch, state, verdict in self._moves if verdict.accepted}
        with bench.store.together():
            for patch, state, verdict in self._moves:
                if adopt or patch not in accepted:
                    said = verdict.to_json()
                    bench.store.shelf.move(patch, state, verdict=said, reason=verdict.why)
            if new is not None and adopt:
                number = bench.store.generations.commit(new)
            elif new is not None:
                candidate = adopting.leave(bench, new, accepted)
            people.after_merge(bench, self._said)
        return MergeReport(
            domain=self.domain,
            outcome=outcome if candidate is None else "candidate",
            own=own,
            others=_others(found),
            base_texts=found.base if found else None,
            patches=tuple(self.judged),
            generation=number,
            candidate=candidate,
            why=why,
        )


def _others(found: Evidence | None) -> dict[str, Measure]:
    return dict(found.others) if found else {}
