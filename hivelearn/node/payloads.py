"""Payloads of this home, verified whenever they are read; and which of those that serve are lost.

What came in whole and is not whole now, this disk has lost: nobody else's fault, and
no reason for the other adapters to be silent.
"""

from collections.abc import Iterator

from hivelearn.files import DiskError
from hivelearn.patch import chunks
from hivelearn.store.errors import DamagedBlobError, LostAdapterError
from hivelearn.store.generations import Generation, Served
from hivelearn.store.store import Store


def payload(store: Store, name: str) -> bytes:
    """Return the payload whose Merkle root is ``name`` (hex).

    Raises:
        MissingBlobError, DamagedBlobError: this disk has lost it.
    """
    data = store.blobs.read(name)
    if chunks.root(chunks.leaves_of(data)).hex() != name:
        raise DamagedBlobError(store.blobs.path(name), "this blob is not what was stored in it")
    return data


def lost(store: Store, base: bytes) -> tuple[LostAdapterError, ...]:
    """Return an error for each adapter that should serve and cannot; reads all of them."""
    return tuple(
        found
        for generation in store.generations.serving(base)
        for served in _members(generation)
        if (found := _loss(store, generation, served)) is not None
    )


def named(store: Store, base: bytes, served: Served, error: DiskError) -> DiskError:
    """Return ``error`` with the domain and the generation that ``served`` is missing from."""
    for generation in store.generations.serving(base):
        if any(served.payload == each.payload for each in _members(generation)):
            return _told(generation, served, error)
    return error  # of the sandbox: it serves nowhere


def _members(generation: Generation) -> Iterator[Served]:
    if generation.specialist is not None:
        yield generation.specialist
    yield from generation.experts


def _loss(store: Store, generation: Generation, served: Served) -> LostAdapterError | None:
    try:
        payload(store, served.payload)
    except DiskError as error:
        return _told(generation, served, error)
    return None


def _told(generation: Generation, served: Served, error: DiskError) -> LostAdapterError:
    own = generation.specialist is not None and generation.specialist.payload == served.payload
    return LostAdapterError(error, generation.domain, generation.number, own=own)
