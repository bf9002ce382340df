"""The allow-list against a real Chromium: every way that a page has to connect, to every spelling of a forbidden place.

Each refusal has its control: the same page with the grant does reach the place, so that no test passes by being broken.
"""

import asyncio
import re
import shutil
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from ipaddress import ip_address
from itertools import cycle
from pathlib import Path
from typing import Final

import pytest
from playwright.async_api import Browser, BrowserContext, Error, ProxySettings, async_playwright

from appliance.browser import proxy as proxy_module
from appliance.browser.allow import AllowPolicy, scheme_allowed
from appliance.browser.dial import Resolver, resolve
from appliance.browser.flags import SWITCHES
from appliance.browser.guard import Guard, shown
from appliance.browser.proxy import FilterProxy
from cloudsync.hosts import Address, Host
from tests.system.traps import Trap, site, trap
from tests.system.vectors import IDLE_VECTORS, PRELUDE, SECURE_VECTORS, VECTORS

FORBIDDEN: Final = ("127.0.0.2", "127.0.0.1", "::1")
# Names and addresses of the forbidden place: each is tried by every vector.
TARGETS: Final = {
    "name": "inner.test",
    "mixed": "mixed.test",
    "rebinding": "rebinding.test",
    "localhost": "localhost",
    "address": "127.0.0.2",
    "ipv6": "[::1]",
    "mapped": "[::ffff:127.0.0.2]",
    "octal": "0177.0.0.2",
}
# Further spellings of one of them, for some vectors of each sort.
SPELLINGS: Final = {
    "decimal": "2130706434",
    "hexadecimal": "0x7f.0x0.2",
    "short": "127.2",
    "dot": "127.0.0.2.",
    "wide": "１２７.0.0.2",
}
SOME: Final = (
    "fetch", "image", "stylesheet", "frame", "redirect of a frame", "redirect of fetch", "form", "popup", "websocket",
    "worker", "service worker",
)  # fmt: skip
ALL: Final = (*VECTORS, *SECURE_VECTORS, *IDLE_VECTORS)
# What is installed of the two: switches do not mean the same to both.
PROGRAMS: Final = [path for path in map(shutil.which, ("chromium-headless-shell", "chromium")) if path]
REACHED_S: Final = 40.0
FRAME_ANSWERS_S: Final = 0.3


def resolver(*rebinding: str) -> Resolver:
    """Knows the test's names; one of them has these addresses in turn."""
    turns = cycle(rebinding)
    known: dict[str, Callable[[], Sequence[str]]] = {
        "inner.test": lambda: ["127.0.0.2"],
        "mixed.test": lambda: ["127.0.0.2", "::1"],
        "rebinding.test": lambda: [next(turns)],
    }

    async def answer(name: str) -> Sequence[Address]:
        return [ip_address(address) for address in known[name]()]

    return answer


@asynccontextmanager
async def browser(*switches: str, program: str = PROGRAMS[0]) -> AsyncIterator[Browser]:
    """A Chromium as it is installed here."""
    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(executable_path=program, args=switches)
        try:
            yield started
        finally:
            await started.close()


class Recording(FilterProxy):
    """One that remembers which hosts it refused, each as often as it did."""

    hosts: list[str]

    def refused(self, host: Host, port: int, reason: str) -> None:
        self.hosts.append(str(host))
        super().refused(host, port, reason)


@asynccontextmanager
async def filtered(
    chromium: Browser, allow: Sequence[str] = (), resolve: Resolver = resolve
) -> AsyncIterator[tuple[Recording, BrowserContext]]:
    """A context that may reach what is public, the test's own site, and what is granted."""
    filter_proxy = await Recording.start(AllowPolicy.of(["site.localhost", *allow]), resolver=resolve)
    filter_proxy.hosts = []
    try:
        proxy: ProxySettings = {"server": filter_proxy.server, "bypass": "<-loopback>"}
        context = await chromium.new_context(proxy=proxy, service_workers="allow")
        yield filter_proxy, context
        await context.close()
    finally:
        await filter_proxy.close()


async def try_all(context: BrowserContext, site_port: int, traps: Mapping[str, Trap]) -> None:
    """Sets off the vectors for every target; a page for each target, which all stay open."""
    for target, host in (TARGETS | SPELLINGS).items():
        page = await context.new_page()
        await page.goto(f"http://site.localhost:{site_port}/")
        await page.evaluate(PRELUDE)
        chosen = traps if target in TARGETS else SOME
        urls = {vector: f"http://{host}:{traps[vector].port}/{target}" for vector in chosen}
        await page.evaluate(
            "urls => { for (const [name, url] of Object.entries(urls)) vectors[name](url).catch(() => 0) }", urls
        )


def missing(traps: Mapping[str, Trap]) -> dict[str, set[str]]:
    """The vectors that did not reach every target, with those that they did not."""
    left = {name: {f"/{target}" for target in TARGETS} - traps[name].paths for name in VECTORS}
    for name in SOME:
        left[name] |= {f"/{target}" for target in SPELLINGS} - traps[name].paths
    left |= {name: {"a connection each"} for name in SECURE_VECTORS if traps[name].connections < len(TARGETS)}
    return {name: targets for name, targets in left.items() if targets}


async def all_reached(traps: Mapping[str, Trap], changed: asyncio.Event) -> dict[str, set[str]]:
    """What is still missing when nothing is, or after a long time."""
    with suppress(TimeoutError):
        async with asyncio.timeout(REACHED_S):
            while missing(traps):
                changed.clear()
                await changed.wait()
    return missing(traps)


@asynccontextmanager
async def traps() -> AsyncIterator[tuple[dict[str, Trap], asyncio.Event]]:
    """A trap for each vector, and the event that something reached one."""
    changed = asyncio.Event()
    async with AsyncExitStack() as stack:
        made = {name: await stack.enter_async_context(trap(FORBIDDEN, changed)) for name in ALL}
        yield made, changed


async def test_no_way_of_a_page_reaches_a_forbidden_place_by_any_of_its_names(monkeypatch: pytest.MonkeyPatch) -> None:
    # Each connection looks its name up anew, so that one which changes its address does so between any two.
    monkeypatch.setattr(proxy_module, "NAME_KEPT_S", 0.0)
    # 127.0.0.3 is granted, and nobody listens there.
    changing, unchanging = resolver("127.0.0.3", "127.0.0.2"), resolver("127.0.0.2")
    async with (
        browser(*SWITCHES) as chromium,
        site() as port,
        traps() as (forbidden, _),
        traps() as (granted, changed),
        filtered(chromium, ["127.0.0.3"], changing) as (refusing, refused),
        filtered(chromium, ["127.0.0.0/8", "::1"], unchanging) as (_, allowed),
    ):
        await try_all(refused, port, forbidden)
        await try_all(allowed, port, granted)
        # By then what was refused has been tried for as long as what was not.
        assert await all_reached(granted, changed) == {}
        touched = {name: made for name, made in forbidden.items() if made.connections or made.datagrams}
        assert touched == {}
        assert set(refusing.hosts) >= {"inner.test", "mixed.test", "rebinding.test", "localhost", "127.0.0.2", "::1"}


HIDING: Final = (
    "http://site.localhost@{host}:{port}/",
    "http://site.localhost:80@{host}:{port}/",
    "http://site.localhost%2f@{host}:{port}/",
    "http://user:pass%40word@{host}:{port}/",
    "http://:@{host}:{port}/",
    "http://a@b@{host}:{port}/",
    "http:\\\\x@{host}:{port}/",
    "\thtt\np://x@{host}:\t{port}/",
    "http://{host}:{port}\\@site.localhost/",
    "http://{host}:{port}#@site.localhost/",
    "http://{host}:{port}?@site.localhost/",
)


async def test_no_url_hides_where_it_leads_behind_credentials() -> None:
    changed = asyncio.Event()
    async with (
        browser(*SWITCHES) as chromium,
        site() as port,
        trap(FORBIDDEN, changed) as forbidden,
        trap(FORBIDDEN, changed) as granted,
        filtered(chromium) as (refusing, refused),
        filtered(chromium, ["127.0.0.2"]) as (_, allowed),
    ):
        for form in HIDING:
            await open_by_script(refused, port, form.format(host="127.0.0.2", port=forbidden.port))
            before = granted.requests
            await open_by_script(allowed, port, form.format(host="127.0.0.2", port=granted.port))
            assert granted.requests > before, form
        assert forbidden.connections == 0
        assert len(refusing.hosts) >= len(HIDING)


async def open_by_script(context: BrowserContext, site_port: int, url: str) -> None:
    """Has a page of the site open a URL, and waits until it is there."""
    page = context.pages[0] if context.pages else await context.new_page()
    await page.goto(f"http://site.localhost:{site_port}/")
    async with page.expect_popup() as popup:
        await page.evaluate("url => { open(url) }", url)
    other = await popup.value
    await other.wait_for_url(re.compile("127.0.0.2"))


async def test_no_datagram_or_other_stream_leaves_a_page() -> None:
    changed = asyncio.Event()
    script = """async urls => {
        const iceServers = urls.map(urls => ({urls, username: 'u', credential: 'c'}));
        const connection = new RTCPeerConnection({iceServers});
        connection.createDataChannel('x');
        const found = [];
        connection.onicecandidate = event => event.candidate && found.push(event.candidate.candidate);
        const gathered = new Promise(done => connection.onicegatheringstatechange = () =>
            connection.iceGatheringState === 'complete' && done());
        await connection.setLocalDescription(await connection.createOffer());
        await Promise.race([gathered, new Promise(done => setTimeout(done, 3000))]);
        return found;
    }"""

    def servers(made: Trap) -> list[str]:
        hosts = ("127.0.0.1", "127.0.0.2", "[::1]", "localhost")
        ways = ("stun:{}", "turn:{}?transport=udp", "turn:{}?transport=tcp", "turns:{}?transport=tcp")
        return [way.format(f"{host}:{made.port}") for host in hosts for way in ways]

    async with (
        site() as port,
        trap(FORBIDDEN, changed) as forbidden,
        trap(FORBIDDEN, changed) as reached,
        trap(FORBIDDEN, changed) as quic,
    ):
        for program in PROGRAMS:
            async with browser(*SWITCHES, program=program) as chromium, filtered(chromium) as (_, context):
                page = await context.new_page()
                await page.goto(f"http://site.localhost:{port}/")
                assert await page.evaluate(script, servers(forbidden)) == []
        assert (forbidden.connections, forbidden.datagrams) == (0, 0)
        async with browser() as chromium:
            page = await chromium.new_page()
            await page.goto(f"http://127.0.0.1:{port}/")
            assert await page.evaluate(script, servers(reached)) != []
            await page.evaluate(
                "url => { new WebTransport(url).ready.catch(() => 0) }", f"https://127.0.0.1:{quic.port}/"
            )
            async with asyncio.timeout(REACHED_S):
                while not quic.datagrams:
                    changed.clear()
                    await changed.wait()
        assert reached.datagrams > 0


MARK: Final = "inside-of-the-box"
LOCAL: Final = {
    "location": "location = to",
    "replace": "location.replace(to)",
    "popup": "open(to)",
    "popup by script": "const w = open(''); w.location = to",
    "link": "add('a', {href: to}).click()",
    "link to a popup": "add('a', {href: to, target: '_blank'}).click()",
    "form": "const f = add('form', {action: to}); f.submit()",
    "frame": "add('iframe', {src: to})",
    "object": "add('object', {data: to})",
    "embed": "add('embed', {src: to})",
    "redirect": "location = via({status: 302, to})",
    "refresh": "location = via({refresh: to})",
    "meta refresh": "location = via({html: `<meta http-equiv=refresh content='0;url=${to}'>`})",
    "fetch": "window.got = await (await fetch(to)).text()",
    "xhr": "const x = new XMLHttpRequest(); x.open('GET', to, false); x.send(); window.got = x.responseText",
    "worker": "new Worker(to)",
}


async def texts(context: BrowserContext) -> str:
    """All that the pages of a context show, with the addresses of those that show nothing of the web."""
    found = []
    for page in context.pages:
        found += [] if scheme_allowed(page.url) or page.url.startswith("chrome-error:") else [f"a page of {page.url}"]
        for frame in page.frames:
            # A frame that the browser put an error into does not answer.
            with suppress(Error, TimeoutError):
                async with asyncio.timeout(FRAME_ANSWERS_S):
                    found.append(await frame.evaluate("document.body.innerText + (window.got ?? '')"))
    return " ".join(found)


@pytest.mark.parametrize(
    "url", ["file://{file}", "view-source:file://{file}", "chrome://version/", "data:text/html,{mark}"]
)
async def test_no_page_gets_to_what_is_not_of_the_web(url: str, tmp_path: Path) -> None:
    file = tmp_path / "secret.html"
    file.write_text(MARK)
    to = url.format(file=file, mark=MARK)
    async with browser(*SWITCHES) as chromium, site() as port, filtered(chromium) as (_, context):
        Guard(context)
        shown_at: list[tuple[str, bool]] = []
        context.on(
            "page",
            lambda page: page.on(
                "framenavigated", lambda frame: shown_at.append((frame.url, frame.parent_frame is None))
            ),
        )
        for body in LOCAL.values():
            page = await context.new_page()
            await page.goto(f"http://site.localhost:{port}/")
            await page.evaluate(PRELUDE)
            with suppress(Error):
                await page.evaluate(f"async to => {{ {body}; await fetch('/') }}", to)
            await page.wait_for_load_state()
        seen = await texts(context)
        assert "site" in seen
        assert "a page of" not in seen
        # In its own frames a page may show its own data, which is as bound as the page.
        assert MARK not in seen or to.startswith("data:")
        # Nor did it come so far that the guard had to end it.
        assert [url for url, is_page in shown_at if not shown(url, is_page=is_page)] == []
        assert shown_at


async def test_the_browser_itself_would_show_what_is_not_of_the_web(tmp_path: Path) -> None:
    file = tmp_path / "secret.html"
    file.write_text(MARK)
    async with browser(*SWITCHES) as chromium:
        context = await chromium.new_context()
        page = await context.new_page()
        for url in (f"file://{file}", f"data:text/html,{MARK}"):
            await page.goto(url)
            assert f"a page of {url} {MARK}" in await texts(context)
