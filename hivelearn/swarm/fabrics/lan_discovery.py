"""Peers on the same network, found through multicast DNS (zeroconf).

What is announced is the device key and the port, never a topic. An entry is a
hint like any typed address: the handshake proves the key. Everybody on the
network can write entries, so their number is bounded.
"""

import asyncio
import ipaddress
from collections.abc import Callable
from typing import Final

from zeroconf import InterfaceChoice, ServiceStateChange, Zeroconf
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from hivelearn.identity import KEY_BYTES
from hivelearn.swarm.fabrics.lan_address import Address

SERVICE: Final = "_hivelearn._tcp.local."
LOOKUP_MS: Final = 3_000
LOOKUPS_MAX: Final = 64  # at the same time
WILDCARDS: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared with, not bound to


class Discovery:
    """Announces one node and reports others; see the module."""

    def __init__(self, me: Address, found: Callable[[Address], None]) -> None:
        """Announce ``me`` (with its key); call ``found`` with every other node."""
        self._me, self._found = me, found
        self._zeroconf: AsyncZeroconf | None = None
        self._browser: AsyncServiceBrowser | None = None  # stays None if closed while starting
        self._lookups: set[asyncio.Task[None]] = set()

    async def start(self, listen_host: str) -> None:
        """Begin; a wildcard host announces on every interface, any other on its own.

        Raises:
            OSError: this machine allows no multicast here.
        """
        interfaces = InterfaceChoice.All if listen_host in WILDCARDS else [listen_host]
        self._zeroconf = AsyncZeroconf(interfaces=interfaces)
        assert self._me.key is not None
        info = AsyncServiceInfo(
            SERVICE,
            # The name must differ between nodes; the key itself is in the text record.
            f"{self._me.key.hex()[:24]}.{SERVICE}",
            port=self._me.port,
            properties={b"k": self._me.key.hex().encode(), b"v": b"1"},
            addresses=[ipaddress.ip_address(self._me.host).packed],
        )
        await (await self._zeroconf.async_register_service(info, allow_name_change=True))
        self._browser = AsyncServiceBrowser(
            self._zeroconf.zeroconf, [SERVICE], handlers=[self._changed]
        )

    async def close(self) -> None:
        """Take the announcement back. May be called twice."""
        zeroconf, self._zeroconf = self._zeroconf, None
        if zeroconf is None:
            return
        for task in list(self._lookups):
            task.cancel()
        if self._browser is not None:
            await self._browser.async_cancel()
        await zeroconf.async_unregister_all_services()
        await zeroconf.async_close()

    def _changed(
        self, zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange
    ) -> None:
        if state_change is ServiceStateChange.Removed or len(self._lookups) >= LOOKUPS_MAX:
            return
        task = asyncio.get_running_loop().create_task(self._look_up(zeroconf, service_type, name))
        self._lookups.add(task)
        task.add_done_callback(self._lookups.discard)

    async def _look_up(self, zeroconf: Zeroconf, service_type: str, name: str) -> None:
        info = AsyncServiceInfo(service_type, name)
        if not await info.async_request(zeroconf, LOOKUP_MS):
            return
        for address in read_entry(info.parsed_addresses(), info.port, info.properties):
            if address.key != self._me.key:
                self._found(address)
                return  # one way to a peer is enough; a wrong one expires by itself


def read_entry(
    hosts: list[str], port: int | None, properties: "dict[bytes, bytes | None]"
) -> list[Address]:
    """Return the addresses that an entry of the network tells; none if it makes no sense."""
    try:
        key = bytes.fromhex((properties.get(b"k") or b"").decode("ascii"))
    except ValueError:
        return []
    if len(key) != KEY_BYTES or not port:
        return []
    return [Address(host, port, key) for host in hosts]
