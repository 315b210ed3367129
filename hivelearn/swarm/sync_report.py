"""A `sync` as its caller sees it: ask everybody, wait until nothing new comes, report.

Waiting costs nothing: it ends when the member signals that something changed, or
when it has been quiet for long enough.
"""

import asyncio
from dataclasses import dataclass

from hivelearn.swarm.fabric import PeerView
from hivelearn.swarm.member import Member


@dataclass(frozen=True, slots=True, repr=False)
class SyncReport:
    """What one `sync` brought."""

    seconds: float
    peers: int  # verified at the end
    accepted: tuple[bytes, ...]  # patch ids, in order of arrival
    refused: dict[bytes, str]  # patch id -> code
    unfinished: tuple[bytes, ...]  # wanted, but nobody gave all of it
    failures: tuple[str, ...]
    bytes_in: int
    bytes_out: int
    quiet: bool  # ended because nothing new came, not because time was up

    def __str__(self) -> str:
        """Tell it in one line."""
        end = "quiet" if self.quiet else "time was up"
        return (
            f"{_count(len(self.accepted), 'patch', 'patches')} from "
            f"{_count(self.peers, 'peer', 'peers')} in {self.seconds:.1f} s "
            f"({self.bytes_in / 1e6:.1f} MB in, {self.bytes_out / 1e6:.1f} MB out, "
            f"{len(self.refused)} refused, {len(self.unfinished)} unfinished; {end})"
        )

    __repr__ = __str__  # what a notebook or a shell shows is for people


async def sync(member: Member, wait_s: float, quiet_s: float) -> SyncReport:
    """Pull from every peer until nothing new came for ``quiet_s``, at most ``wait_s``."""
    loop, stats = asyncio.get_running_loop(), member.stats
    start, before = loop.time(), member.fabric.views()
    accepted, failures = len(stats.accepted), len(stats.failures)
    refused = set(stats.refused)
    stats.progress_s = start
    member.pull_all(judge_again=True)
    quiet = await _until_quiet(member, start + wait_s, quiet_s)
    after = member.fabric.views()
    return SyncReport(
        seconds=loop.time() - start,
        peers=len(member.fabric.peers()),
        accepted=tuple(stats.accepted[accepted:]),
        refused={patch: code for patch, code in stats.refused.items() if patch not in refused},
        unfinished=tuple(member.unfinished()),
        failures=tuple(stats.failures)[failures:],
        bytes_in=_total(after, "bytes_in") - _total(before, "bytes_in"),
        bytes_out=_total(after, "bytes_out") - _total(before, "bytes_out"),
        quiet=quiet,
    )


async def _until_quiet(member: Member, end_s: float, quiet_s: float) -> bool:
    """Return True once it is quiet among peers, False at ``end_s`` (monotonic seconds)."""
    loop, stats = asyncio.get_running_loop(), member.stats
    while (left_s := end_s - loop.time()) > 0:
        if member.fabric.peers() and not member.busy():
            quiet_in_s = stats.progress_s + quiet_s - loop.time()
            if quiet_in_s <= 0:
                return True
            left_s = min(left_s, quiet_in_s)
        await stats.changed.wait(left_s)
    return False


def _total(views: list[PeerView], field: str) -> int:
    return sum(getattr(view, field) for view in views)


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
