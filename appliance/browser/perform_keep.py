"""Performs the steps that keep something."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path, PurePath
from typing import Any, Final, assert_never

from playwright.async_api import CDPSession, Download as Downloading, Error

from appliance.browser.errors import StepFailed
from appliance.browser.files import MEDIA_TYPES, OTHER_MEDIA_TYPE, name_of
from appliance.browser.perform_go import filtered, told
from appliance.browser.scene import Scene
from cloudsync.labels import label
from cloudsync.step.keep import Download, GetCookies, Pdf, SaveProfile, Screenshot, SetCookies
from cloudsync.steps import Keeping

QUALITY: Final = 80
# On a poor link a page's fonts may be long in coming, or never come: it is shown with others then.
FONTS_LIMIT_S: Final = 3.0
_FONTS_READY: Final = """limit => document.fonts.status === "loaded" ? null
    : Promise.race([document.fonts.ready, new Promise(done => setTimeout(done, limit))]).then(() => null)"""
_LOOK_S: Final = 0.1
_TIDY_S: Final = 2.0
_MIB: Final = 1024 * 1024
_COOKIE_FIELDS: Final = ("name", "value", "domain", "path", "expires", "httpOnly", "secure", "sameSite")


async def keep(step: Keeping, scene: Scene) -> Any:
    """Perform the step; its value."""
    match step:
        case Screenshot():
            return _store(step, scene, f".{step.type}", await _picture(step, scene))
        case Pdf():
            return _store(step, scene, ".pdf", await _print(step, scene))
        case Download():
            return await _download(step, scene)
        case GetCookies():
            cookies = await scene.tabs.context.cookies(list(step.urls) or None)
            return [
                {name: cookie[name] for name in _COOKIE_FIELDS if name in cookie and cookie[name] != -1}
                for cookie in cookies
            ]
        case SetCookies():
            # Playwright's type for them is not public.
            cookies_to_set: list[Any] = []
            for cookie in step.cookies:
                fields = cookie.model_dump(exclude_none=True)
                if cookie.domain is not None:
                    fields.setdefault("path", "/")
                cookies_to_set.append(fields)
            await scene.tabs.context.add_cookies(cookies_to_set)
        case SaveProfile():
            scene.is_profile_wanted = True
        case _:
            assert_never(step)
    return None


def _store(step: Screenshot | Pdf, scene: Scene, suffix: str, content: bytes) -> str:
    path = scene.files.place(scene.number, suffix)
    path.write_bytes(content)
    name = name_of(scene.number, step.action, step.name, suffix)
    return scene.files.add(path, name, MEDIA_TYPES[suffix]).name


async def _picture(step: Screenshot, scene: Scene) -> bytes:
    await _fonts(scene)
    quality = None if step.type == "png" else (QUALITY if step.quality is None else step.quality)
    mask = [scene.locate(step, selector) for selector in step.mask] or None
    if step.selector is not None:
        return await scene.locate(step, step.selector).screenshot(
            type=step.type,
            quality=quality,
            mask=mask,
            omit_background=step.omit_background,
            animations=step.animations,
            timeout=scene.left_ms(),
        )
    return await scene.page.screenshot(
        type=step.type,
        quality=quality,
        full_page=step.full_page,
        clip=None if step.clip is None else step.clip.model_dump(),  # type: ignore[arg-type]
        mask=mask,
        omit_background=step.omit_background,
        animations=step.animations,
        timeout=scene.left_ms(),
    )


async def _fonts(scene: Scene) -> None:
    """Wait for the page's fonts as long as they may take; a page that does not answer is told of by its picture."""
    with suppress(Error, TimeoutError):
        async with asyncio.timeout(min(FONTS_LIMIT_S + _TIDY_S, scene.left_s() / 2)):
            await scene.page.evaluate(_FONTS_READY, FONTS_LIMIT_S * 1000)


async def _print(step: Pdf, scene: Scene) -> bytes:
    return await scene.page.pdf(
        format=step.format,
        landscape=step.landscape,
        print_background=step.print_background,
        scale=step.scale,
        page_ranges=step.page_ranges,
        prefer_css_page_size=step.prefer_css_page_size,
        margin=None if step.margin is None else step.margin.model_dump(),  # type: ignore[arg-type]
    )


# Downloads


async def _download(step: Download, scene: Scene) -> dict[str, Any]:
    limit_bytes = int(step.max_mib * _MIB)
    wanted: asyncio.Future[Downloading] = asyncio.get_running_loop().create_future()
    scene.tabs.wanted_download = wanted
    try:
        download = await (
            _by_click(step, step.selector, scene, wanted) if step.selector else _by_url(step, scene, wanted)
        )
    finally:
        scene.tabs.wanted_download = None
    path = scene.files.place(scene.number, ".download")
    try:
        await _finish(download, scene, limit_bytes)
        await download.save_as(path)
    except BaseException:
        await _within(download.cancel())
        raise
    finally:
        await _within(download.delete())
    suggested = label(download.suggested_filename)
    suffix = PurePath(suggested).suffix
    name = suggested if step.name is None else name_of(scene.number, step.action, step.name, suffix.lower())
    file = scene.files.add(path, name, MEDIA_TYPES.get(suffix.lower(), OTHER_MEDIA_TYPE))
    size = path.stat().st_size
    return {"file": file.name, "suggested_name": suggested, "url": download.url, "size_bytes": size}


async def _within(work: Coroutine[Any, Any, None]) -> None:
    """Do what may wait for a download that does not end, but not for long."""
    with suppress(Error, TimeoutError):
        async with asyncio.timeout(_TIDY_S):
            await work


async def _by_click(step: Download, selector: str, scene: Scene, wanted: "asyncio.Future[Downloading]") -> Downloading:
    await scene.locate(step, selector).click(timeout=scene.left_ms())
    try:
        async with asyncio.timeout_at(scene.deadline_s):
            return await wanted
    except TimeoutError:
        raise StepFailed(f"no download began after '{selector}' was clicked") from None


async def _by_url(step: Download, scene: Scene, wanted: "asyncio.Future[Downloading]") -> Downloading:
    """Fetch an address with the browser's own network and cookies, whatever the browser would do with it otherwise."""
    page, url = scene.page, step.url or ""
    if not url.strip().lower().startswith(("http://", "https://")):
        raise StepFailed("only http and https addresses are fetched", code="blocked")
    session = await scene.tabs.context.new_cdp_session(page)
    refused: asyncio.Future[StepFailed] = asyncio.get_running_loop().create_future()
    answers: set[asyncio.Task[None]] = set()

    def paused(event: dict[str, Any]) -> None:
        task = asyncio.get_running_loop().create_task(_as_attachment(session, event, refused, scene))
        answers.add(task)
        task.add_done_callback(answers.discard)

    session.on("Fetch.requestPaused", paused)
    going: asyncio.Task[Any] | None = None
    try:
        pattern = {"urlPattern": "*", "resourceType": "Document", "requestStage": "Response"}
        await session.send("Fetch.enable", {"patterns": [pattern]})
        going = asyncio.create_task(page.goto(url, timeout=scene.left_ms(), wait_until="commit"))
        ends: set[asyncio.Future[Any]] = {going, wanted, refused}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if not wanted.done() and not refused.done():
            # The navigation is given up when its download begins; which of the two is told first is chance.
            await asyncio.wait(ends - {going}, timeout=1.0, return_when=asyncio.FIRST_COMPLETED)
        if wanted.done():
            return wanted.result()
        if refused.done():
            raise refused.result()
        if isinstance(error := going.exception(), Error):
            raise told(error, url, scene) or error
        raise StepFailed("the address gave nothing to download")
    finally:
        refused.cancel()
        if going is not None:
            going.cancel()
            await asyncio.wait({going})
            _ = going.cancelled() or going.exception()
        with suppress(Error):
            await session.send("Fetch.disable")
            await session.detach()


async def _as_attachment(
    session: CDPSession, event: dict[str, Any], refused: "asyncio.Future[StepFailed]", scene: Scene
) -> None:
    """Let a response go on as one that is to be saved, or end it where it is an error."""
    request, status = event["requestId"], event.get("responseStatusCode", 0)
    headers = event.get("responseHeaders", [])
    with suppress(Error):
        if 300 <= status < 400 and any(header["name"].lower() == "location" for header in headers):
            await session.send("Fetch.continueRequest", {"requestId": request})
        elif 200 <= status < 300:
            kept = [header for header in headers if header["name"].lower() != "content-disposition"]
            named = next((h["value"] for h in headers if h["name"].lower() == "content-disposition"), "attachment")
            value = named.replace("inline", "attachment", 1) if named.strip().lower().startswith("inline") else named
            kept.append({"name": "Content-Disposition", "value": value})
            answer = {"requestId": request, "responseCode": status, "responseHeaders": kept}
            await session.send("Fetch.continueResponse", answer)
        elif "responseErrorReason" in event:
            # The navigation's own error says more.
            await session.send("Fetch.continueRequest", {"requestId": request})
        else:
            if not refused.done():
                marks = {header["name"].lower(): header["value"] for header in headers}
                failed = filtered(marks, event["request"]["url"], scene)
                refused.set_result(failed or StepFailed(f"the address answered with status {status}"))
            await session.send("Fetch.failRequest", {"requestId": request, "errorReason": "Aborted"})


async def _finish(download: Downloading, scene: Scene, limit_bytes: int) -> None:
    """Wait for the file's end; `StepFailed` where it is larger than it may be, or took too long."""
    ending = asyncio.create_task(download.failure())
    # Its place is known from the start, so an endless one is noticed before the disk is full.
    path = Path(download._impl_obj._artifact._initializer["absolutePath"])
    try:
        while True:
            left = scene.left_s()
            done, _ = await asyncio.wait({ending}, timeout=min(_LOOK_S, left))
            size = max((_size(path), _size(path.with_name(f"{path.name}.crdownload"))))
            if size > limit_bytes:
                raise StepFailed(
                    f"the file has more than {limit_bytes / _MIB:g} MiB", hint="give the step a larger max_mib"
                )
            if done:
                break
            if left <= 0:
                raise StepFailed(f"the download did not end in time: {size} bytes had come")
    finally:
        ending.cancel()
    if (failure := ending.result()) is not None:
        raise StepFailed(f"the download failed: {failure}")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
