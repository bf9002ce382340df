"""What is kept of the moment in which a task failed: a screenshot, the page's text, and the trace.

The trace is recorded without pictures and page snapshots: both together made a warm navigation with a screenshot 54 %
slower, without them it is 5 %. On failure one more part is recorded with both, of the page as it stands then; a task
that asks for its trace is recorded with both from its first step on.

Texts lose their secrets before they are kept; pictures show the page as it is, so none is kept of a task that has some.
"""

import asyncio
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from playwright.async_api import BrowserContext, Error, Page

from appliance.browser.wire import LeftFile
from cloudsync.labels import FAILURE_PICTURE, FAILURE_TEXT, TRACE

# A page that is stuck answers nothing; whoever waits for the outcome waits for this.
LOOK_LIMIT_S: Final = 2.0
TRACE_LIMIT_S: Final = 10.0
TEXT_LIMIT_CHARACTERS: Final = 1024 * 1024
# So that no secret is cut in two, of which nothing would be known, what is cut in the page is longer than what is kept.
_PAGE_TEXT: Final = f"""() => (document.title.slice(0, {TEXT_LIMIT_CHARACTERS}) + "\\n" + location.href + "\\n\\n"
    + (document.body?.innerText ?? "")).slice(0, {2 * TEXT_LIMIT_CHARACTERS})"""

Redact = Callable[[str], str]


def last_page(context: BrowserContext) -> Page | None:
    """The tab that was opened last."""
    return context.pages[-1] if context.pages else None


async def record_fully(context: BrowserContext, *, has_secrets: bool) -> None:
    """Record the trace with page snapshots and pictures; no pictures where one could show a secret that is typed."""
    async with asyncio.timeout(TRACE_LIMIT_S):
        await context.tracing.stop()
        await context.tracing.start(screenshots=not has_secrets, snapshots=True)


async def keep_failure(
    context: BrowserContext, page: Page | None, folder: Path, redact: Redact, *, has_secrets: bool
) -> list[LeftFile]:
    """Keep all of it that can be had; without a `page` that lives, the trace alone; with secrets, no picture."""
    kept: list[LeftFile] = []
    if page is not None:
        looks = [_text(page, folder, redact), *([] if has_secrets else [_screenshot(page, folder)])]
        kept = [one for one in await asyncio.gather(*looks) if one is not None]
    # A page that answered nothing would only make it late.
    trace = await keep_trace(context, folder, redact, moment=page if kept else None, has_secrets=has_secrets)
    return kept if trace is None else [*kept, trace]


async def keep_trace(
    context: BrowserContext, folder: Path, redact: Redact, *, moment: Page | None = None, has_secrets: bool
) -> LeftFile | None:
    """Write the trace so far, and one more part of the page as it is now; None where there is none to be had."""
    parts = []
    try:
        async with asyncio.timeout(TRACE_LIMIT_S):
            await context.tracing.stop(path=folder / ".trace-0.zip")
            parts.append(folder / ".trace-0.zip")
        if moment is not None:
            async with asyncio.timeout(LOOK_LIMIT_S):
                await context.tracing.start(screenshots=not has_secrets, snapshots=True)
                await moment.evaluate("() => document.title")
                await context.tracing.stop(path=folder / ".trace-1.zip")
                parts.append(folder / ".trace-1.zip")
    except (TimeoutError, Error, OSError):
        pass  # what there is is kept
    if not parts:
        return None
    path = folder / TRACE
    try:
        await asyncio.to_thread(merge_traces, parts, path, redact)
    except (OSError, zipfile.BadZipFile):
        return None
    return LeftFile(name=TRACE, media_type="application/zip", path=str(path))


def merge_traces(parts: list[Path], into: Path, redact: Redact) -> None:
    """Put several recordings into one file, which the viewer shows one after the other, and no secret into it."""
    seen = set()
    with zipfile.ZipFile(into, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as merged:
        for number, part in enumerate(parts):
            with zipfile.ZipFile(part) as zipped:
                for entry in zipped.namelist():
                    name = entry if "/" in entry else f"{number}-{entry}"
                    if name not in seen:
                        seen.add(name)
                        merged.writestr(name, _redacted(zipped.read(entry), redact))
            part.unlink()


def _redacted(data: bytes, redact: Redact) -> bytes:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return data
    return redact(text).encode()


async def _screenshot(page: Page, folder: Path) -> LeftFile | None:
    path = folder / FAILURE_PICTURE
    try:
        async with asyncio.timeout(LOOK_LIMIT_S):
            await page.screenshot(path=path, timeout=LOOK_LIMIT_S * 1000)
    except (TimeoutError, Error, OSError):
        return None
    return LeftFile(name=FAILURE_PICTURE, media_type="image/png", path=str(path))


async def _text(page: Page, folder: Path, redact: Redact) -> LeftFile | None:
    path = folder / FAILURE_TEXT
    try:
        async with asyncio.timeout(LOOK_LIMIT_S):
            text = await page.evaluate(_PAGE_TEXT)
        path.write_text(redact(str(text))[:TEXT_LIMIT_CHARACTERS], errors="replace")
    except (TimeoutError, Error, OSError):
        return None
    return LeftFile(name=FAILURE_TEXT, media_type="text/plain; charset=utf-8", path=str(path))
