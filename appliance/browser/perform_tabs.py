"""Performs the steps on tabs."""

import asyncio
from typing import Any, assert_never

from playwright.async_api import Error, Page

from appliance.browser.errors import StepFailed
from appliance.browser.patterns import is_address, is_text, shown
from appliance.browser.perform_go import visit
from appliance.browser.scene import Scene
from cloudsync.step.tabs import CloseTab, NewTab, SwitchTab
from cloudsync.steps import Tabbing

_LOOK_S = 0.2


async def tab(step: Tabbing, scene: Scene) -> Any:
    """Perform the step; its value."""
    tabs = scene.tabs
    match step:
        case NewTab():
            page = await tabs.open()
            if step.url is not None:
                await visit(page, step.url, scene, step.wait_until)
            return tabs.pages.index(page)
        case SwitchTab():
            page = await _wait(step, scene)
            tabs.switch(page)
            await page.bring_to_front()
            return {"index": tabs.pages.index(page), "url": page.url, "title": await page.title()}
        case CloseTab():
            page = tabs.current if step.index is None else _at(scene, step.index)
            if len(tabs.pages) == 1:
                raise StepFailed("the last tab cannot be closed: it ends with the task")
            await tabs.shut(page)
        case _:
            assert_never(step)
    return None


def _at(scene: Scene, index: int) -> Page:
    pages = scene.tabs.pages
    if index >= len(pages):
        raise StepFailed(f"there is no tab {index}: {_listed(scene)}")
    return pages[index]


async def _wait(step: SwitchTab, scene: Scene) -> Page:
    tabs = scene.tabs
    try:
        async with asyncio.timeout_at(scene.deadline_s):
            while True:
                tabs.changed.clear()
                for index, page in enumerate(tabs.pages):
                    if await _is_wanted(step, index, page):
                        return page
                # A title or an address may change without a tab coming or going.
                try:
                    async with asyncio.timeout(_LOOK_S):
                        await tabs.changed.wait()
                except TimeoutError:
                    continue
    except TimeoutError:
        if step.index is not None:
            wanted = f"there is no tab {step.index}"
        elif step.url is not None:
            wanted = f"no tab has the address {shown(step.url)}"
        else:
            wanted = f"no tab has the title {shown(step.title or '')}"
        raise StepFailed(f"{wanted}: {_listed(scene)}") from None


async def _is_wanted(step: SwitchTab, index: int, page: Page) -> bool:
    if step.index is not None:
        return index == step.index
    if step.url is not None:
        return is_address(step.url, page.url)
    try:
        return step.title is not None and is_text(step.title, await page.title(), exact=True)
    except Error:
        return False  # it is just being left


def _listed(scene: Scene) -> str:
    open_ones = ", ".join(f"{index} {page.url[:100]}" for index, page in enumerate(scene.tabs.pages[:10]))
    return f"{len(scene.tabs.pages)} are open: {open_ones}"
