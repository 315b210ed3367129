"""Own records: the next number made durable, the patch sealed, shelved, ready to travel."""

from dataclasses import replace

from hivelearn.node.workbench import Workbench
from hivelearn.patch.adapter import Adapter
from hivelearn.patch.envelope import Label, Patch, rebased, seal
from hivelearn.patch.manifest import Receipt, RouterCard
from hivelearn.store.shelf import Entry, State


def publishable(  # noqa: PLR0913 - what an author may say about an adapter
    bench: Workbench,
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
    me = bench.identity
    feed = (me.device, me.certificate.epoch)
    seq = bench.store.shelf.next_seq(*feed)
    label = Label(
        domain=domain,
        base=bench.base,
        seq=seq,
        prev=bench.store.shelf.id_at(*feed, seq - 1),
        now_s=bench.world.clock(),
        card=card,
        receipt=receipt,
        shared_a=shared_a,
        licence=licence,
    )
    patch = seal(rebased(adapter, bench.base), label, me)
    payload = bench.store.blobs.put(patch.adapter.to_bytes(), patch.body.payload_root.hex())
    bench.store.shelf.add(entry_of(patch, "own", payload, bench.world.clock()))
    return patch


def entry_of(patch: Patch, state: State, payload: str, now_s: float) -> Entry:
    """Return the shelf's entry for a patch whose payload is stored."""
    body = patch.body
    return Entry(
        id=patch.id,
        author=body.author,
        device=body.device,
        epoch=body.certificate.epoch,
        seq=body.seq,
        domain=body.domain,
        base=body.base,
        envelope=patch.envelope,
        payload=payload,
        state=state,
        arrived_s=now_s,
    )


def renewed(bench: Workbench) -> None:
    """Start a new feed epoch: this home was restored from an older copy of itself."""
    from hivelearn import identity

    fresh = bench.identity.with_next_epoch(bench.world.clock())
    identity.save(fresh, bench.home.path / "identity")
    bench.identity = replace(fresh)
