"""Performs the steps that act on a page."""

import asyncio
import base64
import errno
import os
import stat
from pathlib import Path
from typing import Any, Final, assert_never

from playwright.async_api import FilePayload, Page, Position as At

from appliance.browser.errors import StepFailed
from appliance.browser.scene import Scene
from appliance.browser.tabs import Answer
from cloudsync.step.act import (
    Check,
    Click,
    Dblclick,
    Dialog,
    DragTo,
    Fill,
    Focus,
    Hover,
    InlineFile,
    Press,
    Scroll,
    SelectOption,
    SetInputFiles,
    SetViewport,
    TypeText,
    Uncheck,
)
from cloudsync.step.base import Position
from cloudsync.steps import Acting

# What is handed to a page goes through the driver's pipe as one message.
FILES_LIMIT_BYTES: Final = 40 * 1024 * 1024
# The wheel's effect comes a few frames later: wait until nothing moves, but not for a page that always does.
_STILL: Final = """() => new Promise(done => {
    let last = "", still = 0
    const look = () => {
        const now = `${scrollX},${scrollY}`
        still = now === last ? still + 1 : 0
        last = now
        if (still > 4) done(); else setTimeout(look, 20)
    }
    setTimeout(done, 1000)
    look()
})"""


async def act(step: Acting, scene: Scene) -> Any:
    """Perform the step; its value."""
    match step:
        case Click() | Dblclick() | Hover():
            return await _point(step, scene)
        case Check() | Uncheck() | Focus():
            return await _set(step, scene)
        case Fill():
            await scene.locate(step, step.selector).fill(step.text, force=step.force, timeout=scene.left_ms())
        case TypeText():
            target = scene.locate(step, step.selector)
            await target.press_sequentially(step.text, delay=step.delay, timeout=scene.left_ms())
        case Press():
            if step.selector is None:
                await scene.page.keyboard.press(step.key, delay=step.delay)
            else:
                target = scene.locate(step, step.selector)
                await target.press(step.key, delay=step.delay, timeout=scene.left_ms())
        case SelectOption():
            return await scene.locate(step, step.selector).select_option(
                value=_several(step.value),
                label=_several(step.label),
                index=_several(step.index),
                force=step.force,
                timeout=scene.left_ms(),
            )
        case SetInputFiles():
            files: list[FilePayload] = []
            for file in step.files:
                files.append(await _file(file, scene))
                if sum(len(each["buffer"]) for each in files) > FILES_LIMIT_BYTES:
                    raise StepFailed(f"the files have more than {FILES_LIMIT_BYTES // 1024**2} MiB together")
            await scene.locate(step, step.selector).set_input_files(files, timeout=scene.left_ms())
        case DragTo():
            await scene.locate(step, step.selector).drag_to(
                scene.locate(step, step.target),
                force=step.force,
                source_position=_at(step.source_position),
                target_position=_at(step.target_position),
                timeout=scene.left_ms(),
            )
        case Scroll():
            await _scroll(step, scene)
        case Dialog():
            scene.tabs.answer = Answer(step.accept, step.prompt_text)
            return list(scene.tabs.dialogs)
        case SetViewport():
            await scene.page.set_viewport_size({"width": step.width, "height": step.height})
        case _:
            assert_never(step)
    return None


async def _point(step: Click | Dblclick | Hover, scene: Scene) -> None:
    target = scene.locate(step, step.selector)
    at, modifiers = _at(step.position), list(step.modifiers) or None
    match step:
        case Click():
            await target.click(
                button=step.button,
                click_count=step.click_count,
                delay=step.delay,
                position=at,
                modifiers=modifiers,
                force=step.force,
                timeout=scene.left_ms(),
            )
        case Dblclick():
            await target.dblclick(
                button=step.button,
                delay=step.delay,
                position=at,
                modifiers=modifiers,
                force=step.force,
                timeout=scene.left_ms(),
            )
        case Hover():
            await target.hover(position=at, modifiers=modifiers, force=step.force, timeout=scene.left_ms())
        case _:
            assert_never(step)


async def _set(step: Check | Uncheck | Focus, scene: Scene) -> None:
    target = scene.locate(step, step.selector)
    match step:
        case Check():
            await target.check(force=step.force, timeout=scene.left_ms())
        case Uncheck():
            await target.uncheck(force=step.force, timeout=scene.left_ms())
        case Focus():
            await target.focus(timeout=scene.left_ms())
        case _:
            assert_never(step)


async def _scroll(step: Scroll, scene: Scene) -> None:
    page: Page = scene.page
    if step.selector is not None:
        target = scene.locate(step, step.selector)
        if not step.delta_x and not step.delta_y:
            await target.scroll_into_view_if_needed(timeout=scene.left_ms())
            return
        await target.hover(timeout=scene.left_ms())
    await page.mouse.wheel(step.delta_x, step.delta_y)
    await page.evaluate(_STILL)


def _at(position: Position | None) -> At | None:
    return None if position is None else At(x=position.x, y=position.y)


def _several(wanted: Any) -> Any:
    return list(wanted) if isinstance(wanted, tuple) else wanted


async def _file(file: str | InlineFile, scene: Scene) -> FilePayload:
    """A file as Playwright takes it, read here: the browser itself is never handed a path of the box."""
    if isinstance(file, InlineFile):
        content = base64.b64decode(file.data_b64) if file.data_b64 is not None else (file.text or "").encode()
        return {"name": file.name, "mimeType": file.mime_type, "buffer": content}
    kept = scene.files.find(file)
    path = Path(file) if kept is None else kept.path
    if kept is None and not path.is_absolute():
        raise StepFailed(
            f"'{file[:200]}' is no file that an earlier step kept",
            hint="name one by its artifact's name, or by an absolute path on the box",
        )
    try:
        content = await asyncio.to_thread(_read, path)
    except OSError as error:
        raise StepFailed(f"'{file[:200]}' cannot be read: {error.strerror}") from None
    if len(content) > FILES_LIMIT_BYTES:
        raise StepFailed(f"'{file[:200]}' has more than {FILES_LIMIT_BYTES // 1024**2} MiB")
    media_type = "application/octet-stream" if kept is None else kept.media_type
    return {"name": path.name if kept is None else kept.name, "mimeType": media_type, "buffer": content}


def _read(path: Path) -> bytes:
    """What a plain file has, or one byte more than may be handed over. A link is followed: who reads here may read no
    more than the task. What is no plain file may have no end, or never begin. Raises `OSError`."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "it is no plain file")
        with os.fdopen(fd, "rb", closefd=False) as file:
            return file.read(FILES_LIMIT_BYTES + 1)
    finally:
        os.close(fd)
