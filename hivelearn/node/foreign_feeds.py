"""Feeds of others: one that forks is frozen at the last number both histories have.

A fork is what a restored backup looks like from outside, so it counts as nobody's
fault: no harm, no vouch void. What is on the shelf stays and is judged by what it
measures; only the feed is not taken further, until its author begins a new epoch.
"""

from hivelearn.node import own_records, reputation
from hivelearn.node.context import NodeContext
from hivelearn.node.events import FeedForked
from hivelearn.patch.feed import agreed
from hivelearn.patch.notice import Notice
from hivelearn.store.feeds import Fork
from hivelearn.store.shelf import REFUSED_MAX


def refuses(context: NodeContext, notice: Notice) -> bool:
    """Return whether a record that is new here stands behind a fork; tell of it the first time.

    The record that shows a fork is kept as refused, as evidence: both are signed.
    """
    body, store = notice.body, context.store
    frozen = store.feeds.frozen(body.device, body.epoch)
    if frozen is not None and body.seq > frozen:
        return True
    known = store.shelf.around(body.device, body.epoch, body.seq)
    common = agreed(notice.id, body.place, known)
    if common is None:
        return False
    now_s = context.clock()
    evidence = own_records.entry_of(notice, "refused", None, now_s)
    with store.writing("swarm"), store.together():
        store.shelf.add(evidence)
        store.shelf.move(
            notice.id, "refused", reason=f"a fork: its feed is one up to number {common}"
        )
        store.shelf.forget_refused(REFUSED_MAX, reputation.trusted_somewhere(context))
        new = store.feeds.freeze(Fork(body.device, body.epoch, body.author, common, now_s))
    if new:
        context.events.publish(FeedForked(body.author, body.device, common))
    return True
