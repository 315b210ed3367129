"""The swarm for people who call functions: one loop, in one thread of its own.

The caller's loop is never touched, so the same calls work in a script, in
Jupyter (where a loop is already running) and inside ``asyncio.to_thread``. A
slow cell does not stop the network, and Ctrl-C ends the waiting, not the swarm.
"""

import asyncio
import atexit
import contextlib
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any, Final, Self, TypeVar

from hivelearn.errors import UsageError
from hivelearn.swarm import sync_report
from hivelearn.swarm.context import MemberConfig
from hivelearn.swarm.events import Observer, ignore
from hivelearn.swarm.fabric import OPEN_S, Fabric, Handler, PeerView, Stream
from hivelearn.swarm.member import Member
from hivelearn.swarm.patch_store import PatchStore
from hivelearn.swarm.sync_report import SyncReport

QUIET_S: Final = 1.0
CLOSE_S: Final = 10.0
START_S: Final = 30.0
T = TypeVar("T")


class SwarmRunner:
    """See the module. All methods are thread-safe and block until done."""

    def __init__(
        self,
        fabric_factory: Callable[[], Fabric],
        store: PatchStore,
        *,
        clock: Callable[[], float] = time.time,
        rng_seed: int = 0,
        observe: Observer = ignore,
    ) -> None:
        """Prepare; nothing runs before :meth:`start`.

        Args:
            fabric_factory: makes the fabric; called in the swarm's thread.
            store: what the node holds and wants.
            clock: Unix seconds, for the validity of certificates.
            rng_seed: orders chunks and spreads syncs; give each node another.
            observe: told of peers and patches, in the swarm's thread: it must return soon.
        """
        self._factory, self._store = fabric_factory, store
        self._config = MemberConfig(unix_s=clock, seed=rng_seed, observe=observe)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._member: Member | None = None

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def start(self) -> None:
        """Start the thread and the fabric.

        Raises:
            UsageError: started twice, or the fabric cannot run as configured.
        """
        if self._thread is not None:
            raise UsageError("the swarm was started before", remedy="Make a new one.")
        # The same loop on every platform: what our tests run is what runs on Windows.
        self._loop = asyncio.SelectorEventLoop()
        self._thread = threading.Thread(target=self._run, name="hivelearn-swarm", daemon=True)
        self._thread.start()
        atexit.register(self.close)
        try:
            self._call(self._open(), START_S)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Say goodbye and end the thread. May be called twice, from any thread."""
        loop, thread = self._loop, self._thread
        if loop is None or thread is None or loop.is_closed():
            return
        atexit.unregister(self.close)
        try:
            if self._member is not None:
                self._call(self._member.close(), CLOSE_S)
        except (FutureTimeoutError, UsageError):
            pass  # the thread is a daemon: a fabric that hangs must not hang the program
        finally:
            self._member = None
            if not loop.is_closed():
                loop.call_soon_threadsafe(loop.stop)
            if thread is not threading.current_thread():
                thread.join(CLOSE_S)

    # -- what a node does -------------------------------------------------

    def join(self, topic: bytes) -> None:
        """Hear, fetch and serve what is announced in ``topic`` (32 bytes, ``topics.topic``)."""
        self._call(self._running().join(topic))

    def leave(self, topic: bytes) -> None:
        """Stop taking part in ``topic``."""
        self._call(self._running().leave(topic))

    def meet(self, addresses: Sequence[str]) -> None:
        """Look for peers at ``addresses``, too. Raises UsageError for what is no address."""
        self._call(self._running().fabric.meet(addresses))

    def publish(self, topic: bytes, envelope: bytes) -> None:
        """Announce a patch that the store already holds (its heads list it)."""
        self._call(self._running().publish(topic, envelope))

    def tell_domains(self, lobby: bytes, names: tuple[str, ...]) -> None:
        """Tell in ``lobby`` (joined before) which domains this node has seen."""
        self._call(self._running().tell_domains(lobby, names))

    def domains_seen(self) -> list[str]:
        """Return the domains that others named in a lobby, sorted. Hints, no proof."""
        return sorted(self._running().stats.domains)

    def met(self) -> list[bytes]:
        """Return the keys of all peers that were ever verified, gone or not, sorted."""
        return sorted(self._running().stats.met)

    def sync(self, wait_s: float, *, quiet_s: float = QUIET_S) -> SyncReport:
        """Exchange heads with every peer now and fetch until nothing new came for a while.

        Args:
            wait_s: at most so long. While no peer is there, all of it is waited.
            quiet_s: nothing new for so long ends it.
        """
        return self._call(sync_report.sync(self._running(), wait_s, quiet_s))

    def peers(self) -> list[PeerView]:
        """Return every peer seen, and at which step each fails that is not verified."""
        return self._call(_views(self._running().fabric))

    @property
    def address(self) -> str:
        """What others dial (``hl1…@host:port``); empty where the fabric has no addresses."""
        return self._running().fabric.address

    # -- protocols of other modules ---------------------------------------

    def handle(self, protocol: str, handler: Handler) -> None:
        """Serve the streams of another protocol on the same connections.

        ``await handler(peer, stream)`` runs in the swarm's loop, once for each
        stream: it gives long work to ``asyncio.to_thread``, and what it raises
        resets its stream and nothing else. A later handler takes its place.

        Raises:
            UsageError: the protocol is one of the swarm's own.
        """
        self._call(_handle(self._running(), protocol, handler))

    async def open_stream(self, peer: bytes, protocol: str, *, timeout_s: float = OPEN_S) -> Stream:
        """Open a stream to a verified peer; for coroutines in the swarm's loop only.

        A handler awaits it where it stands. From any other thread::

            async def ask() -> bytes | None:
                stream = await runner.open_stream(peer, "example.org/echo/1")
                await stream.send(b"hello")
                return await stream.recv(timeout_s=5.0)

            answer = runner.run(ask())

        Raises:
            UnreachableError: no verified connection within ``timeout_s``.
            UsageError: the protocol is one of the swarm's own.
        """
        if asyncio.get_running_loop() is not self._loop:
            raise UsageError(
                "a stream is opened in the swarm's own loop",
                remedy="Await it in a handler, or give the coroutine to run().",
            )
        return await self._running().open_stream(peer, protocol, timeout_s=timeout_s)

    def run(self, work: Coroutine[Any, Any, T], timeout_s: float | None = None) -> T:
        """Run a coroutine in the swarm's loop, where streams live, and return its result.

        Raises:
            UsageError: it is no coroutine, or the swarm is closed.
            TimeoutError: it took longer than ``timeout_s``, and was cancelled.
        """
        if not asyncio.iscoroutine(work):
            raise UsageError(
                f"a {type(work).__name__} cannot run in the swarm's loop",
                remedy="Call an `async def` function and give what it returns.",
            )
        return self._call(work, timeout_s)

    # -- the thread -------------------------------------------------------

    def _run(self) -> None:
        assert self._loop is not None
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            with contextlib.suppress(RuntimeError):  # at exit its threads are gone already
                self._loop.run_until_complete(_ended())
                self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._loop.close()

    async def _open(self) -> None:
        member = Member(self._factory(), self._store, self._config)
        try:
            await member.start()
        except BaseException:
            await member.close()
            raise
        self._member = member

    def _running(self) -> Member:
        if self._member is None:
            raise UsageError("the swarm is not running", remedy="Call start(), or join again.")
        return self._member

    def _call(self, work: Coroutine[Any, Any, T], timeout_s: float | None = None) -> T:
        loop = self._loop
        if loop is None or loop.is_closed():
            work.close()
            raise UsageError("the swarm is not running", remedy="Call start(), or join again.")
        if threading.current_thread() is self._thread:
            work.close()
            raise UsageError(
                "a blocking swarm call from the swarm's own thread would wait for itself",
                remedy="Call it from another thread.",
            )
        future: Future[T] = asyncio.run_coroutine_threadsafe(work, loop)
        try:
            return future.result(timeout_s)
        except BaseException:
            future.cancel()  # Ctrl-C or time out: what waits in the loop ends, too
            raise


async def _ended() -> None:
    """Cancel what still runs in this loop, and let it end: Ctrl-C leaves calls half done."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


async def _views(fabric: Fabric) -> list[PeerView]:
    return fabric.views()


async def _handle(member: Member, protocol: str, handler: Handler) -> None:
    member.handle(protocol, handler)
