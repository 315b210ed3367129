"""What each peer was told, and in which topic: nothing else is ever given to it.

The id of a record is no key. Who knows one may have it from anywhere, so an
envelope or a payload goes only to a peer that was told of it while it was
connected, and only as long as both are in the topic in which it was told.
"""

import threading
from collections.abc import Callable, Iterable


class Told:
    """Of all peers that are connected. May be used from any thread."""

    def __init__(self, both_in: Callable[[bytes, bytes], bool]) -> None:
        """Begin with nothing; ``both_in(peer, topic)`` says who is where right now."""
        self._both_in = both_in
        self._lock = threading.Lock()
        self._told: dict[bytes, dict[bytes, set[bytes]]] = {}  # peer -> topic -> patches

    def tell(self, peer: bytes, topic: bytes, patches: Iterable[bytes]) -> None:
        """Note that ``peer`` is told of ``patches`` in ``topic``."""
        with self._lock:
            self._told.setdefault(peer, {}).setdefault(topic, set()).update(patches)

    def where(self, peer: bytes, patch: bytes) -> frozenset[bytes]:
        """Return the topics in which ``peer`` was told of ``patch`` and in which both are now."""
        with self._lock:
            by_topic = self._told.get(peer, {})
            told = [topic for topic, patches in by_topic.items() if patch in patches]
        return frozenset(topic for topic in told if self._both_in(peer, topic))

    def forget(self, peer: bytes) -> None:
        """The peer is gone: it is told anew when it comes back."""
        with self._lock:
            self._told.pop(peer, None)

    def leave(self, topic: bytes) -> None:
        """This node is not in ``topic`` any more."""
        with self._lock:
            for by_topic in self._told.values():
                by_topic.pop(topic, None)
