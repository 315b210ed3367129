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
from hivelearn.swarm.fabric import Fabric, PeerView
from hivelearn.swarm.library import Library
from hivelearn.swarm.limits import Limits
from hivelearn.swarm.member import Member
from hivelearn.swarm.news import SyncReport
from hivelearn.swarm.shell import Setting

__all__ = ["SwarmRunner", "SyncReport"]

QUIET_S: Final = 1.0
POLL_S: Final = 0.05
CLOSE_S: Final = 10.0
START_S: Final = 30.0
T = TypeVar("T")


class SwarmRunner:
    """See the module. All methods are thread-safe and block until done."""

    def __init__(
        self,
        fabric_factory: Callable[[], Fabric],
        library: Library,
        *,
        clock: Callable[[], float] = time.time,
        rng_seed: int = 0,
        limits: Limits | None = None,
    ) -> None:
        """Prepare; nothing runs before :meth:`start`.

        Args:
            fabric_factory: makes the fabric; called in the swarm's thread.
            library: what the node holds and wants.
            clock: Unix seconds, for the validity of certificates.
            rng_seed: orders chunks and spreads syncs; give each node another.
            limits: bounds of the protocol.
        """
        self._factory, self._library = fabric_factory, library
        self._setting = Setting(unix_s=clock, seed=rng_seed, limits=limits or Limits())
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
        """Announce a patch that the library already holds (its heads list it)."""
        self._call(self._running().publish(topic, envelope))

    def tell_domains(self, lobby: bytes, names: tuple[str, ...]) -> None:
        """Tell in ``lobby`` (joined before) which domains this node has seen."""
        self._call(self._running().tell_domains(lobby, names))

    def domains_seen(self) -> list[str]:
        """Return the domains that others named in a lobby, sorted. Hints, no proof."""
        return sorted(self._running().news.domains)

    def met(self) -> list[bytes]:
        """Return the keys of all peers that were ever verified, gone or not, sorted."""
        return sorted(self._running().news.met)

    def sync(self, wait_s: float, *, quiet_s: float = QUIET_S) -> SyncReport:
        """Exchange heads with every peer now and fetch until nothing new came for a while.

        Args:
            wait_s: at most so long. While no peer is there, all of it is waited.
            quiet_s: nothing new for so long ends it.
        """
        return self._call(_sync(self._running(), wait_s, quiet_s))

    def peers(self) -> list[PeerView]:
        """Return every peer seen, and at which step each fails that is not verified."""
        return self._call(_views(self._running().fabric))

    @property
    def address(self) -> str:
        """What others dial (``hl1…@host:port``); empty where the fabric has no addresses."""
        return self._running().fabric.address

    # -- the thread -------------------------------------------------------

    def _run(self) -> None:
        assert self._loop is not None
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            with contextlib.suppress(RuntimeError):  # at exit its threads are gone already
                self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._loop.close()

    async def _open(self) -> None:
        member = Member(self._factory(), self._library, self._setting)
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


async def _views(fabric: Fabric) -> list[PeerView]:
    return fabric.views()


async def _sync(member: Member, wait_s: float, quiet_s: float) -> SyncReport:
    loop, news = asyncio.get_running_loop(), member.news
    start, before = loop.time(), member.fabric.views()
    accepted, failures = len(news.accepted), len(news.failures)
    refused = set(news.refused)
    news.at = start
    member.pull_all(judge_again=True)
    quiet = False
    while not quiet and loop.time() - start < wait_s:
        await asyncio.sleep(min(POLL_S, wait_s))
        idle = bool(member.fabric.peers()) and not member.busy()
        quiet = idle and loop.time() - news.at >= quiet_s
    after = member.fabric.views()
    return SyncReport(
        seconds=loop.time() - start,
        peers=len(member.fabric.peers()),
        accepted=tuple(news.accepted[accepted:]),
        refused={patch: code for patch, code in news.refused.items() if patch not in refused},
        unfinished=tuple(member.unfinished()),
        failures=tuple(news.failures)[failures:],
        bytes_in=_total(after, "bytes_in") - _total(before, "bytes_in"),
        bytes_out=_total(after, "bytes_out") - _total(before, "bytes_out"),
        quiet=quiet,
    )


def _total(views: list[PeerView], field: str) -> int:
    return sum(getattr(view, field) for view in views)
