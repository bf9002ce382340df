"""A context's proxy: what it lets through, and what it says of the rest."""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from appliance.browser.allow import AllowPolicy
from appliance.browser.dial import Resolver
from appliance.browser.proxy import REASONS_KEPT, FilterProxy
from cloudsync.hosts import Address
from tests.unit.appliance.browser.sites import Client, names, site


@asynccontextmanager
async def filtering(*allow: str, resolver: Resolver | None = None) -> AsyncIterator[FilterProxy]:
    proxy = await FilterProxy.start(AllowPolicy.of(allow), resolver=resolver or names({}))
    try:
        yield proxy
    finally:
        await proxy.close()


async def test_a_granted_site_is_reached_by_request_and_by_tunnel() -> None:
    async with site() as there, filtering("127.0.0.1") as proxy:
        async with Client.of(proxy) as client:
            assert await client.get(f"http://{there.at}/a?b") == (200, b"hello")
            assert await client.get(f"http://{there.at}/c") == (200, b"hello")
        assert [head.split(b"\r\n")[0] for head in there.heads] == [b"GET /a?b HTTP/1.1", b"GET /c HTTP/1.1"]
        assert f"\r\nHost: {there.at}\r\n".encode() in there.heads[0]
        assert there.connections == 1
        async with Client.of(proxy) as client:
            assert await client.tunnel(there.at) == 200
            client.send("GET / HTTP/1.1\r\n\r\n")
            assert await client.answer() == (200, b"hello")
        assert proxy.explain(None) is None


async def test_what_is_not_granted_is_refused_with_the_reason_and_never_connected_to() -> None:
    async with site() as there, filtering(resolver=names({"x.example": ["127.0.0.1"]})) as proxy:
        async with Client.of(proxy) as client:
            client.send(f"GET http://{there.at}/ HTTP/1.1\r\n\r\n")
            answer = await client.rest()
            assert answer.startswith(b"HTTP/1.1 403 ")
            assert b"x-operis-proxy: blocked" in answer
            assert b"127.0.0.1 is not public (loopback, the box itself); grant it with allow" in answer
        async with Client.of(proxy) as client:
            assert await client.tunnel(f"x.example:{there.port}") == 403
        assert there.connections == 0
        assert (proxy.explain(f"http://{there.at}/") or "").startswith("blocked: 127.0.0.1 is not public")
        said = proxy.explain(f"http://x.example:{there.port}/") or ""
        assert said.startswith("blocked: host x.example resolves to 127.0.0.1, which is not public")


async def test_a_name_that_answers_differently_each_time_is_judged_by_what_is_connected_to() -> None:
    answers = iter([["127.0.0.2"], ["127.0.0.1"], ["127.0.0.1"]])
    resolver = names({"x.example": lambda: next(answers)})
    async with site() as inside, filtering("127.0.0.2", resolver=resolver) as proxy:
        async with Client.of(proxy) as client:
            # 127.0.0.2 is granted, and nobody listens there: the look-up is not done again to get another address.
            assert (await client.get(f"http://x.example:{inside.port}/"))[0] == 502
        proxy.policy = proxy.policy
        async with Client.of(proxy) as client:
            assert (await client.get(f"http://x.example:{inside.port}/"))[0] == 403
        assert inside.connections == 0


async def test_of_a_mixed_answer_only_granted_addresses_are_tried() -> None:
    resolver = names({"x.example": ["127.0.0.1", "127.0.0.2"]})
    async with site() as inside, filtering("127.0.0.2", resolver=resolver) as proxy:
        async with Client.of(proxy) as client:
            assert (await client.get(f"http://x.example:{inside.port}/"))[0] == 502
        assert inside.connections == 0
    async with site() as inside, filtering("127.0.0.1", resolver=resolver) as proxy, Client.of(proxy) as client:
        assert (await client.get(f"http://x.example:{inside.port}/"))[0] == 200


async def test_a_name_is_looked_up_once_for_all_who_wait() -> None:
    asked = []

    async def slow(name: str) -> Sequence[Address]:
        asked.append(name)
        await asyncio.sleep(0)
        return await names({"x.example": ["127.0.0.1"]})(name)

    async with site() as there, filtering("127.0.0.1", resolver=slow) as proxy:

        async def one() -> int:
            async with Client.of(proxy) as client:
                return (await client.get(f"http://x.example:{there.port}/"))[0]

        assert await asyncio.gather(*(one() for _ in range(20))) == [200] * 20
        assert await one() == 200
    assert asked == ["x.example"]


async def test_a_name_without_an_address_is_said_to_have_none() -> None:
    async with filtering() as proxy, Client.of(proxy) as client:
        status, body = await client.get("http://nowhere.example/")
        assert status == 502
        assert b"nowhere.example: has no address" in body
        assert proxy.explain("http://nowhere.example/x") == "nowhere.example: has no address"


async def test_a_refusal_is_explained_by_the_url_that_met_it() -> None:
    async with filtering(resolver=names({"x.example": ["10.0.0.1"]})) as proxy:
        assert proxy.explain(None) is None
        async with Client.of(proxy) as client:
            assert await client.tunnel("x.example:443") == 403
        async with Client.of(proxy) as client:
            assert (await client.get("http://[::1]:8080/"))[0] == 403
        assert "resolves to 10.0.0.1" in (proxy.explain("https://u:p@X.example/a?b") or "")
        assert "::1 is not public" in (proxy.explain("ws://[0::1]:8080") or "")
        for other in ("http://x.example/", "https://y.example/", "about:blank", "http://[", "http://x:y/", ""):
            assert proxy.explain(other) is None
        assert "::1 is not public" in (proxy.explain(None) or "")


async def test_no_other_users_process_is_served() -> None:
    async with site() as there:
        proxy = await FilterProxy.start(AllowPolicy.of(["127.0.0.1"]), user=os.geteuid() + 1)
        try:
            async with Client.of(proxy) as client:
                client.send(f"GET http://{there.at}/ HTTP/1.1\r\n\r\n")
                assert await client.rest() == b""
        finally:
            await proxy.close()
        assert there.connections == 0


async def test_the_policy_of_the_next_task_ends_what_the_last_one_may() -> None:
    async with site() as there, filtering("127.0.0.1") as proxy:
        async with Client.of(proxy) as tunnelled, Client.of(proxy) as client:
            assert await tunnelled.tunnel(there.at) == 200
            assert await client.get(f"http://{there.at}/") == (200, b"hello")
            proxy.policy = AllowPolicy()
            assert await tunnelled.rest() == b""
            assert await client.rest() == b""
        async with Client.of(proxy) as client:
            assert (await client.get(f"http://{there.at}/"))[0] == 403


async def test_one_tasks_proxy_is_no_way_to_anothers() -> None:
    async with filtering("127.0.0.0/8", "0.0.0.0", "localhost") as wide, filtering() as narrow:
        port = narrow.server.rpartition(":")[2]
        for host in ("127.0.0.1", "localhost", "0.0.0.0", "[::ffff:127.0.0.1]"):
            async with Client.of(wide) as client:
                assert await client.tunnel(f"{host}:{port}") == 403


async def test_a_closed_proxy_holds_nothing_open() -> None:
    async with site() as there, filtering("127.0.0.1") as proxy:
        async with Client.of(proxy) as client:
            assert await client.tunnel(there.at) == 200
            await proxy.close()
            await proxy.close()
            assert await client.rest() == b""
        with pytest.raises(ConnectionError):
            async with Client.of(proxy):
                pass


async def test_only_so_many_refusals_are_kept() -> None:
    async with filtering() as proxy:
        for number in range(1, REASONS_KEPT + 6):
            proxy.refused("x.example", number, "no")
        kept = [number for number in range(1, REASONS_KEPT + 6) if proxy.explain(f"http://x.example:{number}/")]
        assert kept == list(range(6, REASONS_KEPT + 6))
