"""The proxy that a browser context must go through: it connects to what the task may reach, and to nothing else.

Every request is judged by the address that it would be sent to, after a redirect as before one, whatever in the page
made it; the name is looked up here, once, and the connection goes to just the address that was judged.
"""

import asyncio
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import ClassVar, Final, Self
from urllib.parse import urlsplit

from appliance.browser.allow import AllowPolicy, Kind, Verdict, kind_of, known_addresses
from appliance.browser.dial import Resolver, Upstream, connect, connect_through, resolve
from appliance.browser.near import near_networks
from appliance.browser.peer import uid_of_peer
from appliance.browser.relay import Relay, Site
from cloudsync.hosts import Address, Host, parse_host

# A browser opens at most 32 to its proxy and some more for WebSockets.
CONNECTIONS_LIMIT: Final = 256
BACKLOG: Final = 128
# A name keeps its addresses this long, as in a browser: its page's connections all go to the same ones.
NAME_KEPT_S: Final = 60.0
NAMES_KEPT: Final = 1000
REASONS_KEPT: Final = 1000

_DEFAULT_PORTS: Final = {"http": 80, "ws": 80, "https": 443, "wss": 443}
_OWN: Final = frozenset({Kind.LOOPBACK, Kind.UNSPECIFIED})


class FilterProxy:
    """One context's proxy, listening on a port of its own of 127.0.0.1."""

    _own_ports: ClassVar[set[int]] = set()

    def __init__(self, policy: AllowPolicy, resolver: Resolver, upstream: Upstream | None, user: int) -> None:
        self.upstream = upstream
        self.server = ""
        """What a context is given as `proxy["server"]`."""
        self._user = user
        self._policy = _with_near(policy)
        self._resolver = resolver
        self._relays: set[Relay] = set()
        self._names: dict[str, tuple[float, Sequence[Address]]] = {}
        self._reasons: dict[tuple[Host, int], str] = {}
        self._lookups: dict[str, asyncio.Task[Sequence[Address]]] = {}
        self._listener: asyncio.Server | None = None
        self._port = 0

    @classmethod
    async def start(
        cls,
        policy: AllowPolicy,
        *,
        resolver: Resolver = resolve,
        upstream: Upstream | None = None,
        user: int | None = None,
    ) -> Self:
        """A proxy that serves one user's processes, by default our own. Raises `OSError` where no port is to be had."""
        proxy = cls(policy, resolver, upstream, os.geteuid() if user is None else user)
        loop = asyncio.get_running_loop()
        proxy._listener = await loop.create_server(lambda: Relay(proxy), "127.0.0.1", 0, backlog=BACKLOG)
        proxy._port = proxy._listener.sockets[0].getsockname()[1]
        proxy.server = f"http://127.0.0.1:{proxy._port}"
        cls._own_ports.add(proxy._port)
        return proxy

    @property
    def policy(self) -> AllowPolicy:
        """What may be reached; setting it ends every connection and forgets what was looked up and refused."""
        return self._policy

    @policy.setter
    def policy(self, policy: AllowPolicy) -> None:
        self._policy = _with_near(policy)
        self._names.clear()
        self._reasons.clear()
        for relay in tuple(self._relays):
            relay.abort()

    async def close(self) -> None:
        """Ends every connection, and listens no more."""
        if self._listener is None:
            return
        self._listener.close()
        self._listener = None
        for lookup in self._lookups.values():
            lookup.cancel()
        for relay in tuple(self._relays):
            relay.abort()
        self._own_ports.discard(self._port)

    def explain(self, url: str | None) -> str | None:
        """Why the last request to where this URL leads was refused or came to nothing; None where none was.

        Without a URL, the last of all: where a redirect leads out of sight, nobody knows the URL.
        """
        if url is None:
            return next(reversed(self._reasons.values()), None)
        try:
            parts = urlsplit(url)
            port = parts.port or _DEFAULT_PORTS.get(parts.scheme, 0)
            host = parse_host(parts.netloc.rpartition("@")[2].removesuffix(f":{parts.port}"))
        except ValueError:
            return None
        return self._reasons.get((host, port))

    def admit(self, relay: Relay) -> bool:
        """Takes on a connection that was made to the proxy, or says that it must go."""
        if self._listener is None or len(self._relays) >= CONNECTIONS_LIMIT:
            return False
        ends = relay.transport.get_extra_info("sockname"), relay.transport.get_extra_info("peername")
        if None in ends or uid_of_peer(*ends) != self._user:
            return False
        self._relays.add(relay)
        return True

    def leave(self, relay: Relay) -> None:
        """A connection to the proxy has ended."""
        self._relays.discard(relay)

    def judged(self, host: Host, port: int) -> Verdict | None:
        """Whether a request may go where it wants, and to which addresses; None where the name has to be looked up."""
        addresses: Sequence[Address] | None = known_addresses(host)
        if addresses is None:
            expires, addresses = self._names.get(str(host), (0.0, ()))
            if expires <= asyncio.get_running_loop().time():
                return None
        return self._verdict(host, port, addresses)

    async def judge(self, host: Host, port: int) -> Verdict:
        """The same, with a look-up if need be. Raises `Unreachable`."""
        verdict = self.judged(host, port)
        return verdict or self._verdict(host, port, await self._look_up(str(host)))

    def _verdict(self, host: Host, port: int, addresses: Sequence[Address]) -> Verdict:
        if port in self._own_ports and any(kind_of(address) in _OWN for address in addresses):
            return Verdict((), f"{host} port {port} is the proxy of a browser task")
        return self._policy.judge(host, port, addresses)

    def refused(self, host: Host, port: int, reason: str) -> None:
        """Notes a request that is refused."""
        self._note(host, port, f"blocked: {reason}")

    def failed(self, host: Host, port: int, reason: str) -> None:
        """Notes a request that might go where it wants, and could not."""
        self._note(host, port, reason)

    def _note(self, host: Host, port: int, reason: str) -> None:
        self._reasons.pop((host, port), None)
        while len(self._reasons) >= REASONS_KEPT:
            del self._reasons[next(iter(self._reasons))]
        self._reasons[host, port] = reason

    async def dial(self, addresses: Sequence[Address], port: int, make: Callable[[], Site]) -> Site:
        """A connection to one of the addresses that were judged. Raises `Unreachable`."""
        if self.upstream is None:
            return await connect(make, addresses, port)
        return await connect_through(self.upstream, make, addresses[0], port, self._resolver)

    async def _look_up(self, name: str) -> Sequence[Address]:
        """Asks for a name once, however many wait for it."""
        lookup = self._lookups.get(name)
        if lookup is None:
            lookup = asyncio.create_task(self._resolver_answer(name))
            self._lookups[name] = lookup
            lookup.add_done_callback(lambda done: self._looked_up(name, done))
        return await asyncio.shield(lookup)

    def _looked_up(self, name: str, lookup: asyncio.Task[Sequence[Address]]) -> None:
        del self._lookups[name]
        if not lookup.cancelled():
            # Those who waited may all be gone, and then nobody else asks how it failed.
            lookup.exception()

    async def _resolver_answer(self, name: str) -> Sequence[Address]:
        addresses = tuple(await self._resolver(name))
        while len(self._names) >= NAMES_KEPT:
            del self._names[next(iter(self._names))]
        self._names[name] = (asyncio.get_running_loop().time() + NAME_KEPT_S, addresses)
        return addresses


def _with_near(policy: AllowPolicy) -> AllowPolicy:
    return policy if policy.near else replace(policy, near=near_networks())
