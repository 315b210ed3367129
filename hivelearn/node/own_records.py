"""Own records: the next number made durable, the patch sealed, shelved, ready to travel."""

from dataclasses import replace

from hivelearn.node.context import NodeContext
from hivelearn.patch.adapter import Adapter
from hivelearn.patch.envelope import Label, Patch, rebased, seal
from hivelearn.patch.manifest import Receipt, RouterCard
from hivelearn.patch.notice import Notice
from hivelearn.store.shelf import Entry, State


def sign(
    context: NodeContext,
    adapter: Adapter,
    domain: str,
    *,
    card: RouterCard | None = None,
    receipt: Receipt | None = None,
    shared_a: bool = False,
    licence: str = "",
) -> Patch:
    """Sign ``adapter`` as this node's next record and put it on the shelf.

    The caller holds the writer lock.
    """
    me = context.identity
    feed = (me.device, me.certificate.epoch)
    seq = context.shelf.next_seq(*feed)
    label = Label(
        domain=domain,
        base=context.base,
        seq=seq,
        prev=context.shelf.id_at(*feed, seq - 1),
        now_s=context.clock(),
        card=card,
        receipt=receipt,
        shared_a=shared_a,
        licence=licence,
    )
    patch = seal(rebased(adapter, context.base), label, me)
    shelve(context, patch)
    return patch


def shelve(context: NodeContext, patch: Patch) -> None:
    """Put an own patch and its payload on the shelf; one that is there stays as it is."""
    payload = context.blobs.put(patch.adapter.to_bytes(), patch.body.payload_root.hex())
    context.shelf.add(entry_of(patch, "own", payload, context.clock()))


def entry_of(record: Patch | Notice, state: State, payload: str | None, now_s: float) -> Entry:
    """Return the shelf's entry for a record; ``payload`` names its blob, if that is here."""
    body = record.body
    return Entry(
        id=record.id,
        author=body.author,
        device=body.device,
        epoch=body.certificate.epoch,
        seq=body.seq,
        domain=body.domain,
        base=body.base,
        envelope=record.envelope,
        payload=payload,
        state=state,
        arrived_s=now_s,
    )


def renew(context: NodeContext) -> None:
    """Start a new feed epoch: this home was restored from an older copy of itself."""
    from hivelearn import identity

    fresh = context.identity.with_next_epoch(context.clock())
    identity.save(fresh, context.home.path / "identity")
    context.identity = replace(fresh)
