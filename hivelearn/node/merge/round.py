"""One run of `node.merge`: what it knows, and how it ends, all at once or not at all.

What a round decides is collected and written in one transaction at its end:
moves on the shelf, the generation, what it says of authors. A crash in the
middle of a long judgement leaves everything where it was.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property

from hivelearn.gate.gain import N_MIN, Measure, Unmeasured
from hivelearn.gate.probes import Probes
from hivelearn.gate.rules import Evidence
from hivelearn.identity import short_name
from hivelearn.node import copies, reputation
from hivelearn.node.context import NodeContext
from hivelearn.node.events import Adopted, VerdictReached
from hivelearn.node.merge import strangers
from hivelearn.node.merge.adopt import leave, took_in
from hivelearn.node.reports import Judged, Outcome, RoundReport
from hivelearn.patch.verdict import Verdict
from hivelearn.store.errors import StaleGenerationError
from hivelearn.store.generations import Generation
from hivelearn.store.shelf import REFUSED_MAX, Entry, State
from hivelearn.trust.standing import Judgement


@dataclass
class Round:
    """What is known so far."""

    context: NodeContext
    domain: str
    now: tuple[Generation, ...]  # what serves, all domains
    probes: Probes
    trusted: frozenset[bytes] = frozenset()  # authors, in this domain; ranked once for the round
    at_fault: set[bytes] = field(default_factory=set)  # authors, at the door or in this round
    gains: dict[bytes, Measure] = field(default_factory=dict)  # patch -> alone, against the base
    judged: list[Judged] = field(default_factory=list)
    _measured: set[bytes] = field(default_factory=set)  # strangers' patches that had their turn
    _moves: list[tuple[bytes, State, Verdict]] = field(default_factory=list)
    _said: dict[bytes, tuple[bytes, Judgement]] = field(default_factory=dict)

    @property
    def incumbent(self) -> Generation:
        """What serves the domain now; an empty one before its first generation."""
        found = next((g for g in self.now if g.domain == self.domain), None)
        return found or Generation(
            self.context.base, self.domain, None, (), "", self.context.clock()
        )

    @property
    def ours(self) -> bool:
        """Whether the domain has a specialist and enough own evidence to judge a merge."""
        return self.incumbent.specialist is not None and len(self.probes.own) >= N_MIN

    @cached_property
    def state(self) -> str:
        """What the verdicts of this round depend on; see ``strangers.state``."""
        return strangers.state(self.context, self.now)

    def gain(self, patch: bytes) -> Measure:
        """Return what a patch alone gains on the own holdout, as far as that was measured."""
        return self.gains.get(patch, Unmeasured())

    def postpone(self, entry: Entry) -> None:
        """Leave a patch in the sandbox unread: its turn comes in a later round."""
        self._moves.append((entry.id, "sandboxed", strangers.WAITS))
        name = short_name(entry.author)
        self.judged.append(
            Judged(entry.id.hex(), name, strangers.WAITS, "sandboxed", Unmeasured(), None)
        )

    def settle(
        self,
        patch: bytes,
        author: bytes,
        state: State,
        verdict: Verdict,
        weight: float | None = None,
    ) -> None:
        """Decide where a patch goes and what that says of its author."""
        gain = self.gain(patch)
        if author not in self.trusted:
            self._measured.add(patch)
        self._moves.append((patch, state, verdict))
        self.judged.append(Judged(patch.hex(), short_name(author), verdict, state, gain, weight))
        said = reputation.judgement(gain)
        if verdict.fault == "author":
            self.at_fault.add(author)
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
    ) -> RoundReport:
        """Write the round down and tell it.

        Args:
            outcome: as the report calls it.
            own: gain on the own holdout.
            found: the evidence that decided, if any was gathered.
            new: what shall serve the domain from now on.
            adopt: False leaves ``new`` as a candidate, and what it is made of in its place.
            why: the sentence of a refusal.
        """
        context, candidate = self.context, None
        adopted: Generation | None = None
        accepted = {patch: state for patch, state, verdict in self._moves if verdict.accepted}
        with context.store.together():
            if new is not None:
                self._refuse_untrusted(accepted)
            for patch, state, verdict in self._moves:
                if adopt or patch not in accepted:
                    said = verdict.to_json()
                    context.shelf.move(patch, state, verdict=said, reason=verdict.why)
            if new is not None and adopt:
                adopted = replace(new, report=took_in(accepted))
                adopted = replace(adopted, number=context.generations.commit(adopted))
            elif new is not None:
                candidate = leave(context, new, accepted)
            reputation.hear(context, self.domain, self._said)
            reputation.forgive(context, self.domain)
            context.store.marks.take_turn(self.domain, self.state, self._measured)
        copies.compare(context)  # a crash before it: until the next round nothing new counts
        self._sweep()
        self._publish(adopted)
        return RoundReport(
            domain=self.domain,
            outcome=outcome if candidate is None else "candidate",
            own=own,
            others=_others(found),
            base_texts=found.base if found else None,
            patches=tuple(self.judged),
            generation=None if adopted is None else adopted.number,
            candidate=candidate,
            why=why,
        )

    def _refuse_untrusted(self, accepted: Iterable[bytes]) -> None:
        """Raise StaleGenerationError if a patch was judged under a vouch withdrawn since."""
        gone = self.trusted - reputation.trusted(self.context, self.domain)
        entries = (self.context.shelf.get(patch) for patch in accepted)
        if any(entry is not None and entry.author in gone for entry in entries):
            raise StaleGenerationError(
                f"{self.domain}: an author lost this node's trust while the merge was judged"
            )

    def _publish(self, adopted: Generation | None) -> None:
        for judged in self.judged:
            self.context.events.publish(VerdictReached(self.domain, judged))
        if adopted is not None:
            self.context.events.publish(Adopted(adopted))

    def _sweep(self) -> None:
        """Delete the payloads of what was refused; nothing waits for the next start to do it."""
        store = self.context.store
        with store.together():  # a payload that comes in now waits until this is done
            store.shelf.forget_refused(REFUSED_MAX, reputation.trusted_somewhere(self.context))
            for patch, state, _ in self._moves:
                entry = store.shelf.get(patch) if state == "refused" else None
                if entry and entry.payload and not store.shelf.needs_blob(entry.payload):
                    store.blobs.delete(entry.payload)


def _others(found: Evidence | None) -> dict[str, Measure]:
    return dict(found.others) if found else {}
