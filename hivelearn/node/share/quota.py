"""How much of strangers a node keeps: patches and bytes, on the shelf and on their way here.

Three bounds, and each is shared: by the patches of one author, by those that one relay
told of, and by all. Where a bound is reached, what has been measured and did not help
makes way. If that is not enough, whoever has most there makes way for whoever has
least, the newest unmeasured first; so a crowd behind one relay never shuts out
another, and a newcomer is heard however long others have been shouting.

Half-fetched payloads take disk like any other, so they count, too. A promise
that nobody keeps (a payload announced, wanted and never delivered) frees its place
after an hour, however often it is made again; what was written of it by then counts as the
file that it is, and makes way first. What does not fit is not fetched, and that is nobody's
fault.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hivelearn.node import reputation
from hivelearn.node.config import NodeConfig
from hivelearn.node.context import NodeContext
from hivelearn.node.merge import strangers
from hivelearn.patch.notice import Notice
from hivelearn.store.shelf import WAITING

PROMISE_S: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Place:
    """What one payload of a stranger takes."""

    payload: str  # blob name
    author: bytes  # empty where nobody knows: half-fetched by another run
    relay: bytes  # device key
    nbytes: int
    patch: bytes | None = None  # its id if it is on the shelf
    measured: bool = False
    helpful: bool = False
    lying: bool = False  # half-fetched, and nobody is asked for the rest
    file: str = ""  # that it arrives in, if that is not called as the payload


def make_way(wanted: Place, taken: Sequence[Place], config: NodeConfig) -> tuple[Place, ...] | None:
    """Return who leaves so that ``wanted`` may come in; None if it may not.

    Args:
        wanted: what asks for a place.
        taken: all others, oldest first.
        config: the bounds.
    """
    left, gone = list(taken), []
    for shares, full in _bounds(wanted, config):
        while full(held := [place for place in left if shares(place)]):
            leaves = _first_to_leave(wanted, held)
            if leaves is None:
                return None
            left.remove(leaves)
            gone.append(leaves)
    return tuple(gone)


def _bounds(
    wanted: Place, config: NodeConfig
) -> Iterator[tuple[Callable[[Place], bool], Callable[[Sequence[Place]], bool]]]:
    """Yield who shares each bound with ``wanted``, and whether so many leave it no room."""
    yield lambda p: p.author == wanted.author, lambda held: len(held) >= config.sandbox_per_author
    yield lambda p: p.relay == wanted.relay, lambda held: len(held) >= config.sandbox_per_relay
    yield lambda _: True, lambda held: len(held) >= config.sandbox_max
    most = config.sandbox_max_bytes - wanted.nbytes
    # As of places: one relay has no more than a share of the bytes, whatever it promises.
    share = config.sandbox_max_bytes * config.sandbox_per_relay // config.sandbox_max
    yield (
        lambda p: p.relay == wanted.relay,
        lambda held: bool(held) and sum(p.nbytes for p in held) + wanted.nbytes > share,
    )
    yield lambda _: True, lambda held: sum(place.nbytes for place in held) > most


def _first_to_leave(wanted: Place, held: Sequence[Place]) -> Place | None:
    """Return who makes way for ``wanted`` among those who share a bound with it."""
    relays, authors = Counter(p.relay for p in held), Counter(p.author for p in held)

    def has_more(place: Place) -> bool:
        """Whether it still has no fewer places than the newcomer once it has made way."""
        if place.relay == wanted.relay:
            return authors[place.author] >= authors[wanted.author] + 2
        return relays[place.relay] >= relays[wanted.relay] + 2

    may_leave = [
        place
        for place in held
        if place.lying or (place.measured and not place.helpful) or has_more(place)
    ]
    newest_first = reversed(may_leave)
    return max(
        newest_first,
        key=lambda p: (p.lying, not p.helpful, p.measured, relays[p.relay], authors[p.author]),
        default=None,
    )


@dataclass(frozen=True, slots=True)
class _Promise:
    """A payload that was wanted and is not here yet."""

    place: Place
    stranger: bool
    since_s: float


class Sandbox:
    """The places for unknown authors. Its caller holds a lock from looking to taking."""

    def __init__(self, context: NodeContext) -> None:
        self._context = context
        self._coming: dict[str, _Promise] = {}  # payload name

    def room(self, notice: Notice, relay: bytes) -> tuple[bytes, ...] | None:
        """Return the patches that make way for a payload; None if there is no room for it."""
        if self._trusts(notice):
            return ()
        gone = self._making_way(self._wanted(notice, relay))
        if gone is None:
            return None
        self._let_go(gone)
        return tuple(p.patch for p in gone if p.patch is not None)

    def expect(self, notice: Notice, relay: bytes, file: str = "") -> bool:
        """Keep a place for a payload that will be fetched now; return whether there is one.

        Args:
            notice: of the patch.
            relay: who told of it.
            file: that it will arrive in.
        """
        wanted, stranger = self._wanted(notice, relay, file), not self._trusts(notice)
        gone = self._making_way(wanted) if stranger else ()
        if gone is None:
            return False
        self._let_go(gone)
        known = self._coming.get(wanted.payload)
        since_s = self._context.environment.monotonic() if known is None else known.since_s
        self._coming[wanted.payload] = _Promise(wanted, stranger, since_s)
        return True

    def _let_go(self, gone: Sequence[Place]) -> None:
        """Drop promises that make way, and delete what lies half-fetched."""
        for place in gone:
            if place.lying:
                (self._context.home.partial / place.payload).unlink(missing_ok=True)
            elif place.patch is None:
                self._coming.pop(place.payload, None)

    def relay(self, notice: Notice) -> bytes:
        """Return who told of a payload that was expected; else the device that signed it."""
        promise = self._coming.get(notice.body.payload_root.hex())
        return promise.place.relay if promise else notice.body.device

    def arrived(self, notice: Notice) -> None:
        """Free the place that was kept; from now on the shelf tells."""
        self._coming.pop(notice.body.payload_root.hex(), None)

    def _trusts(self, notice: Notice) -> bool:
        body = notice.body
        return body.author in reputation.trusted(self._context, body.domain)

    def _making_way(self, wanted: Place) -> tuple[Place, ...] | None:
        return make_way(wanted, self._taken(wanted), self._context.config)

    def _wanted(self, notice: Notice, relay: bytes, file: str = "") -> Place:
        body, name = notice.body, notice.body.payload_root.hex()
        promise = self._coming.get(name)
        file = file or (promise.place.file if promise else "")
        return Place(name, body.author, relay, body.payload_bytes, file=file)

    def _taken(self, but: Place) -> list[Place]:
        """Return what strangers have, oldest first, not counting what is to come of ``but``."""
        now_s = self._context.environment.monotonic()
        self._coming = {
            name: promise
            for name, promise in self._coming.items()
            if now_s - promise.since_s < PROMISE_S
        }
        here = self._resting()
        coming = [p.place for n, p in self._coming.items() if p.stranger and n != but.payload]
        coming_all = [but, *(promise.place for promise in self._coming.values())]
        known = {place.payload for place in (*here, *coming_all)}
        known |= {place.file for place in coming_all}
        lying = [
            Place(path.name, b"", b"", _size(path), lying=True)
            for path in sorted(self._context.home.partial.iterdir())
            if path.name not in known
        ]
        return here + lying + coming

    def _resting(self) -> list[Place]:
        """Return the places of what waits on the shelf, of authors that are not trusted."""
        store = self._context.store
        trusted: dict[str, frozenset[bytes]] = {}
        evidence = store.reputation.evidence()
        helpful = {row.patch for row in evidence if row.judgement == "success"}
        found, sizes = [], set()
        waiting = [entry for state in WAITING for entry in store.shelf.list(state=state)]
        for entry in sorted(waiting, key=lambda entry: entry.arrived_s):
            assert entry.payload is not None  # it waits
            if entry.domain not in trusted:
                trusted[entry.domain] = reputation.trusted(self._context, entry.domain)
            if entry.author in trusted[entry.domain]:
                continue
            # Two records of one payload are two patches, and take its bytes once.
            nbytes = 0 if entry.payload in sizes else _size(store.blobs.path(entry.payload))
            sizes.add(entry.payload)
            found.append(
                Place(
                    entry.payload,
                    entry.author,
                    strangers.relay(entry),
                    nbytes,
                    patch=entry.id,
                    measured=strangers.measured(entry),
                    helpful=entry.id in helpful,
                )
            )
        return found


def _size(path: Path) -> int:
    with suppress(OSError):  # gone meanwhile
        return path.stat().st_size
    return 0
