"""The third story: those who teach one subject take turns on one trunk.

    others' trunks → go on from the best → train a few steps onto it → tell the part
        → when the others' parts are here, or patience is over: judge them, sum them up
        → the next trunk → it serves if it measures better → tell it

Read `grow` top to bottom: one turn. Nobody waits in it: a node that is on for an hour a
night makes as many turns as it can, takes up the trunk that the others have come to, and
leaves its part for them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from hivelearn.device.limits import DeviceLimits
from hivelearn.gate.gain import Measure
from hivelearn.identity import short_name
from hivelearn.node import domains, own_records
from hivelearn.node.context import NodeContext
from hivelearn.node.events import TrunkGrown
from hivelearn.node.reports import TrunkReport, Turn
from hivelearn.node.share.network import Swarm
from hivelearn.node.trunk import close, own_part, serve, take
from hivelearn.node.trunk.state import Record, Rounds
from hivelearn.patch.envelope import Patch
from hivelearn.store.trunks import KEPT, Trunk
from hivelearn.training.pace import all_gained
from hivelearn.trunk.cohort import STALE_MAX

OVER: Final = "its round is over"
ELSEWHERE: Final = "it builds on a trunk that is not known here"


@dataclass(frozen=True, slots=True)
class Company:
    """Who could take part."""

    swarm: Swarm | None = None  # where parts are told
    present: int = 0  # verified peers in it


def company_in(swarms: Sequence[Swarm], domain: str) -> Company:
    """Return who could take part in the rounds of ``domain``, of those in ``swarms``."""
    swarm = next((each for each in swarms if domain in each.domains), None)
    present = 0 if swarm is None else sum(peer.verified for peer in swarm.peers)
    return Company(swarm, present)


def grow(
    context: NodeContext,
    domain: str,
    company: Company,
    limits: DeviceLimits,
    sleep: Callable[[float], object] | None = None,
) -> TrunkReport:
    """Take one turn in the rounds of ``domain``.

    Args:
        context: the node.
        domain: that its owner teaches.
        company: with whom.
        limits: what the device must be like.
        sleep: the environment's, or one whose true result means "stop now".

    Raises:
        UsageError: no domain name, or one that was mistyped.
        WriterBusyError: another process writes to this home.
    """
    domains.check_not_mistyped(context, domain)
    with context.store.writing(f"a round of {domain}"):
        rounds = Rounds(context, domain)
        taken = take.take(rounds, rounds.records())
        if taken is not None:
            return _told(rounds, "taken up", taken)
        records = rounds.records()
        if resting(rounds) and not called(rounds, records):
            return _rest(rounds, company)
        mine = own_part.mine(rounds, records)
        if mine is None:
            part = own_part.made(rounds, limits, sleep)
            if part is None:
                return TrunkReport(domain, "nothing to teach", rounds.id.hex(), rounds.height)
            _tell(context, company, part)
        return _close(rounds, company)


def resting(rounds: Rounds) -> bool:
    """Return whether the last trunks gained too little, with the corrections as they are."""
    said = rounds.said()
    history = rounds.trunks.history(rounds.base, rounds.domain)
    losses = [trunk.loss for trunk in history if trunk.said == said and trunk.loss is not None]
    return all_gained(losses) if losses else False


def called(rounds: Rounds, records: Sequence[Record]) -> bool:
    """Return whether somebody trusted goes on from this trunk: it has learnt something new."""
    spent = rounds.used() | rounds.trunks.left_out(rounds.base, rounds.domain)
    others = rounds.trusted - {rounds.context.identity.author}
    return any(
        part.root not in spent and part.body.author in others for part in rounds.parts(records)
    )


def in_company(context: NodeContext, domain: str, company: Company) -> bool:
    """Return whether somebody else takes part, or might: alone one trains by oneself."""
    if not context.journal.list(domain, holdout=False):
        return False
    me = context.identity.author
    others = (entry.onto and entry.author != me for entry in context.shelf.list(domain=domain))
    return company.present > 0 or any(others)


def _close(rounds: Rounds, company: Company) -> TrunkReport:
    """End the round, if all came whom one expects or it has waited long enough."""
    records = rounds.records()
    mine = own_part.mine(rounds, records)
    here = {part.body.author for part in rounds.parts(records)}
    if mine is None or _waits(rounds, mine, records, here, company):
        others = here - {rounds.context.identity.author}
        names = tuple(sorted(map(short_name, others)))
        return TrunkReport(rounds.domain, "waiting", rounds.id.hex(), rounds.height, authors=names)
    found = close.offers(rounds, records)
    done = close.closed(rounds, close.judged(rounds, found))
    if done is None:
        return TrunkReport(rounds.domain, "alone", rounds.id.hex(), rounds.height)
    take.go_on_from(rounds, done.trunk, done.adapter)
    _retire(rounds, records)
    if not any(r.descent.is_trunk and r.makes == done.trunk.id for r in records):
        descent = done.descent
        trunk = own_records.sign(rounds.context, done.adapter, rounds.domain, descent=descent)
        _tell(rounds.context, company, trunk)
    names = tuple(short_name(author) for author in done.authors)
    return _told(rounds, "grown", done.gain, names)


def _waits(
    rounds: Rounds, mine: Record, records: Sequence[Record], here: set[bytes], company: Company
) -> bool:
    """Return whether more parts may come soon enough.

    Args:
        rounds: of the domain.
        mine: the own part.
        records: all that are here.
        here: authors whose parts onto this trunk are here, of whatever use.
        company: who else is about.
    """
    me, trunk = rounds.context.identity.author, rounds.trunk
    others = here - {me}
    if trunk is None:
        all_came = len(others) >= company.present
    else:
        lately = [r for r in records if r.descent.onto in (trunk.id, trunk.onto)]
        parts = [record for record in lately if not record.descent.is_trunk]
        all_came = others >= ({part.body.author for part in parts} & rounds.trusted) - {me}
    if others and all_came:
        return False
    return rounds.context.clock() - mine.entry.arrived_s < rounds.settings.patience_s


def _retire(rounds: Rounds, records: Sequence[Record]) -> None:
    """Take away what no later round can use; own parts of before, and trunks that are known."""
    me = rounds.context.identity.author
    for record in records:
        known = rounds.known(record.descent.onto)
        late = rounds.height - (known[0] if known is not None else record.descent.height)
        own = record.body.author == me
        if known is None and record.body.author not in rounds.trusted:
            rounds.retire(record, ELSEWHERE)  # a stranger's, onto what nobody here has
        elif late > (STALE_MAX if not record.descent.is_trunk else KEPT) or (
            own and not record.descent.is_trunk and late > 1
        ):
            rounds.retire(record, OVER)


def _rest(rounds: Rounds, company: Company) -> TrunkReport:
    """Tell the trunk as a patch that stands alone; who does not teach may take it as an expert."""
    context, trunk, adapter = rounds.context, rounds.trunk, rounds.adapter
    serving = context.generations.current(rounds.base, rounds.domain)
    served = serving.specialist if serving is not None else None
    if adapter is not None and served is not None and trunk and served.payload == trunk.payload:
        patch = serve.sealed(context, rounds.domain, adapter)
        if patch is not None:
            _tell(context, company, patch)
    return TrunkReport(rounds.domain, "resting", rounds.id.hex(), rounds.height)


def _tell(context: NodeContext, company: Company, patch: Patch) -> None:
    if company.swarm is not None:
        company.swarm.publish(patch)
        if patch.body.descent is not None:  # what was signed for the swarm is enough
            context.shelf.retire(patch.id, OVER)


def _told(
    rounds: Rounds, outcome: Turn, gain: Measure, authors: tuple[str, ...] = ()
) -> TrunkReport:
    """Serve the trunk if it is better than what serves, and report the turn."""
    trunk: Trunk | None = rounds.trunk
    adapter = rounds.adapter
    assert trunk is not None
    assert adapter is not None
    served = serve.serve_if_better(rounds, adapter, f"trunk {trunk.height}")
    report = TrunkReport(
        domain=rounds.domain,
        outcome=outcome,
        trunk=trunk.id.hex(),
        height=trunk.height,
        parts=trunk.parts,
        authors=authors,
        loss=trunk.loss,
        lost=trunk.lost,
        gain=gain,
        served=served,
    )
    rounds.context.events.publish(TrunkGrown(report))
    return report
