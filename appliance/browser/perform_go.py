"""Performs the steps that go somewhere or wait for something."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final, assert_never

from playwright.async_api import Error, Page, Response, TimeoutError as NotInTime

from appliance.browser.allow import scheme_allowed, scheme_of
from appliance.browser.errors import StepFailed
from appliance.browser.http1 import MARKER
from appliance.browser.patterns import is_address, shown
from appliance.browser.scene import Scene
from cloudsync.step.base import Pattern
from cloudsync.step.go import Back, Forward, Goto, Reload, WaitFor, WaitUntil
from cloudsync.steps import Going

_MARKER: Final = MARKER.decode()
# How the filter's reasons begin where it did not let a request go, and not where a host did not answer.
_BLOCKED: Final = "blocked: "
_NO_TUNNEL: Final = "ERR_TUNNEL_CONNECTION_FAILED"


async def go(step: Going, scene: Scene) -> Any:
    """Perform the step; its value."""
    page, timeout = scene.page, scene.left_ms()
    match step:
        case Goto():
            return await visit(page, step.url, scene, step.wait_until, step.referer)
        case Back():
            await _has_page(page, scene, -1, "back")
            return _reached(page, await page.go_back(wait_until=step.wait_until, timeout=timeout))
        case Forward():
            await _has_page(page, scene, 1, "forward")
            return _reached(page, await page.go_forward(wait_until=step.wait_until, timeout=timeout))
        case Reload():
            return _reached(page, await page.reload(wait_until=step.wait_until, timeout=timeout))
        case WaitFor():
            return await _wait(step, scene)
        case _:
            assert_never(step)


async def visit(page: Page, url: str, scene: Scene, wait_until: WaitUntil, referer: str | None = None) -> Any:
    """Go to an address; `{url, status}` of what was reached."""
    if not scheme_allowed(url):
        scheme = scheme_of(url)
        said = f"'{url[:100]}' is no whole address" if scheme is None else f"'{scheme[:20]}:' addresses are not opened"
        raise StepFailed(said, code="blocked", hint="begin it with https:// or http://")
    try:
        response = await page.goto(url, wait_until=wait_until, timeout=scene.left_ms(), referer=referer)
    except Error as error:
        if (failed := told(error, url, scene)) is None:
            raise
        raise failed from None
    if response is not None and (failed := filtered(response.headers, response.url, scene)) is not None:
        raise failed
    return _reached(page, response)


def told(error: Error, url: str, scene: Scene) -> StepFailed | None:
    """What the filter says of an error: a tunnel that it did not make has no answer that a page could show."""
    if _NO_TUNNEL not in error.message:
        return None
    # A redirect may have led elsewhere; then it is the last that was refused.
    why = scene.explain(url) or scene.explain(None)
    return None if why is None else _refused(why)


def filtered(headers: Mapping[str, str], url: str, scene: Scene) -> StepFailed | None:
    """The failure that an answer stands for which the box's own filter gave in the site's stead."""
    match headers.get(_MARKER):
        case None:
            return None
        case "blocked":
            return _refused(scene.explain(url) or f"{_BLOCKED}the box's filter does not let it through")
        case _:
            return _refused(scene.explain(url) or "the host cannot be reached")


def _refused(why: str) -> StepFailed:
    if not why.startswith(_BLOCKED):
        return StepFailed(why)
    return StepFailed(why, code="blocked", hint="grant the host or its address with the task's allow")


def _reached(page: Page, response: Response | None) -> dict[str, Any]:
    return {"url": page.url, "status": None if response is None else response.status}


async def _has_page(page: Page, scene: Scene, by: int, way: str) -> None:
    """Playwright itself says nothing where there is no page to go to."""
    session = await scene.tabs.context.new_cdp_session(page)
    history = await session.send("Page.getNavigationHistory")
    await session.detach()
    if not 0 <= history["currentIndex"] + by < len(history["entries"]):
        raise StepFailed(f"there is no page to go {way} to")


async def _wait(step: WaitFor, scene: Scene) -> Any:
    page, timeout = scene.page, scene.left_ms()
    if step.selector is not None:
        await scene.locate(step, step.selector).first.wait_for(state=step.state, timeout=timeout)
    elif step.text is not None:
        await scene.root(step).get_by_text(step.text).first.wait_for(state=step.state, timeout=timeout)
    elif step.load_state is not None:
        await page.wait_for_load_state(step.load_state, timeout=timeout)
    elif step.url is not None:
        return await _address(step.url, scene)
    elif step.response is not None:
        return await _response(step, step.response, scene)
    elif step.milliseconds is not None:
        await asyncio.sleep(step.milliseconds / 1000)
    return None


async def _address(wanted: str | Pattern, scene: Scene) -> str:
    failures: list[StepFailed] = []

    def is_wanted(url: str) -> bool:
        # Playwright calls this where an error would be lost, so the wait ends with it instead.
        try:
            return is_address(wanted, url)
        except StepFailed as failed:
            failures.append(failed)
            return True

    try:
        await scene.page.wait_for_url(is_wanted, timeout=scene.left_ms(), wait_until="commit")
    except NotInTime:
        raise StepFailed(f"the address did not become {shown(wanted)}") from None
    if failures:
        raise failures[0]
    return scene.page.url


async def _response(step: WaitFor, wanted: str | Pattern, scene: Scene) -> Any:
    tabs = scene.tabs
    try:
        async with asyncio.timeout_at(scene.deadline_s):
            while True:
                tabs.changed.clear()
                for seen in tabs.responses:
                    is_new = seen.at_s >= scene.before_s
                    if is_new and is_address(wanted, seen.url) and step.status in {None, seen.status}:
                        return {"url": seen.url, "status": seen.status}
                await tabs.changed.wait()
    except TimeoutError:
        came = [seen for seen in tabs.responses if seen.at_s >= scene.before_s]
        like = sorted({seen.status for seen in came if is_address(wanted, seen.url)})
        statuses = f", of the address with status {', '.join(map(str, like))}" if like else ""
        raise StepFailed(f"no response from {shown(wanted)} came; {len(came)} others did{statuses}") from None
