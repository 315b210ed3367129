"""A node's own part of a round: a few steps onto the trunk, sealed with what it builds on."""

from collections.abc import Callable

from hivelearn.device.limits import DeviceLimits
from hivelearn.node import measure, own_records
from hivelearn.node.learn import resume
from hivelearn.node.trunk.state import Record, Rounds
from hivelearn.patch.descent import Descent
from hivelearn.patch.envelope import Patch
from hivelearn.patch.manifest import Receipt


def mine(rounds: Rounds, records: list[Record]) -> Record | None:
    """Return the own part onto the trunk as others see it, or None."""
    me = rounds.context.identity.author
    own = [part for part in rounds.parts(records) if part.body.author == me]
    return max(own, key=lambda one: (one.body.epoch > 0, one.entry.arrived_s), default=None)


def made(
    rounds: Rounds, limits: DeviceLimits, sleep: Callable[[float], object] | None
) -> Patch | None:
    """Train a part onto the trunk and seal it.

    Args:
        rounds: of the domain.
        limits: what the device must be like.
        sleep: the environment's, or one whose true result means "stop now".

    Returns:
        The part; None if it was told to stop, or there is nothing to learn from. Twenty steps
        are not kept for another day: the trunk will have gone on.
    """
    context, domain = rounds.context, rounds.domain
    given = measure.fitting(context, context.journal.list(domain, holdout=False))
    if not given.rows:
        return None
    recipe = rounds.settings.recipe(context.config.recipe, rounds.height)
    session = resume.session_on(context, domain, recipe, given, rounds.adapter)
    for _ in context.governor(limits, domain=domain, sleep=sleep).paced(session):
        if sleep is not None and sleep(0.0):
            break
    if not session.ended:
        return None
    trunk = rounds.trunk
    descent = Descent(rounds.id, rounds.height, 0 if trunk is None else trunk.parts)
    records = 1 << (len(given.rows) - 1).bit_length()
    receipt = Receipt(steps=session.done, tokens=session.tokens, records=records)
    return own_records.sign(context, session.adapter(), domain, receipt=receipt, descent=descent)
