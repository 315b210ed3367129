"""Own records: sealed for this home, signed again for each swarm in which they are published.

What is sealed stands in no feed: a diary may be trained and never told. What is
published takes the next place in the feed of that swarm, made durable before it
is signed, so its id is another one, and it names nothing of any other swarm
(`hivelearn.patch.feed`).
"""

from typing import TypedDict, Unpack

from hivelearn.node.context import NodeContext
from hivelearn.node.events import FeedForked, FeedRestarted
from hivelearn.patch.adapter import Adapter
from hivelearn.patch.descent import Descent
from hivelearn.patch.envelope import Label, Patch, placed, rebased, says_the_same, seal
from hivelearn.patch.feed import UNPUBLISHED, agreed
from hivelearn.patch.manifest import Receipt, RouterCard
from hivelearn.patch.notice import Notice, read_envelope
from hivelearn.store.feeds import Fork
from hivelearn.store.shelf import Entry, State


class Said(TypedDict, total=False):
    """What an author may say of an adapter beside its domain."""

    card: RouterCard | None
    receipt: Receipt | None
    shared_a: bool
    licence: str
    descent: Descent | None


def sign(context: NodeContext, adapter: Adapter, domain: str, **said: Unpack[Said]) -> Patch:
    """Sign ``adapter`` as a record that stands in no feed, and put it on the shelf.

    The caller holds the writer lock.
    """
    label = Label(
        domain=domain,
        base=context.base,
        seq=UNPUBLISHED.seq,
        prev=UNPUBLISHED.prev,
        now_s=context.clock(),
        **said,
    )
    patch = seal(rebased(adapter, context.base), label, context.identity)
    shelve(context, patch)
    return patch


def shelve(context: NodeContext, patch: Patch) -> None:
    """Put an own patch and its payload on the shelf; one that is there stays as it is."""
    payload = context.blobs.put(patch.adapter.to_bytes(), patch.body.payload_root.hex())
    context.shelf.add(entry_of(patch, "own", payload, context.clock()))


def take_back(context: NodeContext, patch: Patch) -> None:
    """Put an own patch that comes from a folder on the shelf. The caller holds the writer lock."""
    meet(context, patch.notice)
    shelve(context, patch)


def entry_of(record: Patch | Notice, state: State, payload: str | None, now_s: float) -> Entry:
    """Return the shelf's entry for a record; ``payload`` names its blob, if that is here."""
    body = record.body
    return Entry(
        id=record.id,
        author=body.author,
        device=body.device,
        epoch=body.epoch,
        seq=body.seq,
        prev=body.prev,
        domain=body.domain,
        base=body.base,
        envelope=record.envelope,
        payload=payload,
        state=state,
        arrived_s=now_s,
        onto=None if body.descent is None else body.descent.onto,
    )


def for_swarm(context: NodeContext, patch: Patch, swarm: bytes) -> Patch:
    """Return an own patch as it is published in ``swarm``: signed there before, or now.

    The caller holds the writer lock.
    """
    meet(context, patch.notice)
    for entry in context.on_shelf("own", patch.domain):
        if _stands(context, entry, swarm) and says_the_same(_record(entry).body, patch.body):
            return context.adapters.patch(entry.id)
    return _publish(context, patch, swarm)


def _publish(context: NodeContext, patch: Patch, swarm: bytes) -> Patch:
    me, now_s = context.identity, context.clock()
    stale = context.store.feeds.stale(swarm)
    place = context.store.feeds.claim(swarm, me.device, now_s)
    told = placed(patch, place, me, now_s)
    shelve(context, told)
    if stale is not None:
        context.events.publish(FeedRestarted(stale))
    return told


def _record(entry: Entry) -> Notice:
    # Time 0: what was signed here does not become another's because its offer has expired.
    notice = read_envelope(entry.envelope, now_s=0.0)
    assert notice is not None
    return notice


def _stands(context: NodeContext, entry: Entry, swarm: bytes) -> bool:
    """Return whether an own record is in the feed of ``swarm``, and not behind a fork."""
    feeds = context.store.feeds
    if not entry.epoch or feeds.swarm_of(entry.epoch) != swarm:
        return False
    frozen = feeds.frozen(entry.device, entry.epoch)
    return frozen is None or entry.seq <= frozen


def meet(context: NodeContext, notice: Notice) -> None:
    """Take notice of an own record that came from elsewhere: from others, from a folder.

    One of the epoch that is signed in, and unknown here, was signed by a newer copy of
    this home: the feed begins a new epoch. What both have signed is a fork, and what
    was published here behind it is signed again, since nobody takes it any more.
    """
    body, feeds, shelf = notice.body, context.store.feeds, context.shelf
    swarm = feeds.swarm_of(body.epoch) if body.epoch else None
    if swarm is None or shelf.get(notice.id) is not None:
        return
    with context.store.writing("feed"):
        known = shelf.around(body.device, body.epoch, body.seq)
        common, now_s = agreed(notice.id, body.place, known), context.clock()
        current, restarted = feeds.current(swarm), False
        if current is not None and current.epoch == body.epoch:
            feeds.begin(swarm, "met itself", now_s)
            restarted = True
        new = common is not None and feeds.freeze(
            Fork(body.device, body.epoch, body.author, common, now_s)
        )
        if common is not None:
            _publish_again(context, swarm, body.epoch, common)
    if restarted:
        context.events.publish(FeedRestarted("met itself"))
    if new and common is not None:
        context.events.publish(FeedForked(body.author, body.device, common))


def _publish_again(context: NodeContext, swarm: bytes, epoch: int, common: int) -> None:
    """Sign once more what this home published in ``epoch`` behind the number ``common``."""
    for entry in context.shelf.list(state="own"):
        behind = entry.epoch == epoch and entry.seq > common
        if behind and context.offers.topic_of(entry.id) is not None:
            told = _publish(context, context.adapters.patch(entry.id), swarm)
            context.offers.replace(entry.id, told.id)
