"""Performs the step that checks what a page shows."""

import asyncio
from dataclasses import dataclass
from typing import Any, Final

from playwright.async_api import Error

from appliance.browser.errors import StepFailed
from appliance.browser.patterns import is_address, is_text, shown
from appliance.browser.scene import Scene
from cloudsync.step.base import Pattern
from cloudsync.step.check import Expect

# Between two looks: the first few soon, then less often, as the page has what is wanted or will take its time.
_PAUSES_S: Final = (0.02, 0.05, 0.1, 0.2)
_SEEN_LIMIT: Final = 300

_LOOK: Final = """elements => ({
    count: elements.length,
    text: elements.length ? ((elements[0].innerText ?? elements[0].textContent) || "").slice(0, 200000) : null,
    value: elements.length ? (elements[0].value ?? null) : null,
})"""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    thing: str
    wanted: str
    seen: Any
    holds: bool
    instead: str = ""
    """In words what was seen, where `seen` does not say it."""


async def check(step: Expect, scene: Scene) -> dict[str, Any]:
    """Wait until all holds; what was seen. `StepFailed` says what was seen of what does not."""
    loop = asyncio.get_running_loop()
    looks = 0
    findings: list[Finding] = []
    while True:
        try:
            async with asyncio.timeout_at(scene.deadline_s):
                findings = await _look(step, scene)
        except TimeoutError:
            if not findings:
                raise StepFailed("the page does not answer") from None
        except Error as error:
            # A page that is just being left has nothing to look at; one that is wrongly asked never will.
            if "Execution context was destroyed" not in error.message and "navigat" not in error.message.lower():
                raise
        else:
            if all(finding.holds for finding in findings):
                return {finding.thing: finding.seen for finding in findings}
        pause_s = _PAUSES_S[min(looks, len(_PAUSES_S) - 1)]
        looks += 1
        if loop.time() + pause_s >= scene.deadline_s:
            raise StepFailed(_said(step, findings))
        await asyncio.sleep(pause_s)


def _said(step: Expect, findings: list[Finding]) -> str:
    where = f" of '{step.selector}'" if step.selector is not None else ""
    of_page = {"url", "title"}
    wrong = [finding for finding in findings if not finding.holds]
    return (
        "; ".join(
            f"expected {finding.thing}{'' if finding.thing in of_page else where} {finding.wanted}, "
            f"saw {finding.instead or _short(finding.seen)}"
            for finding in wrong
        )
        or "the page was never at rest"
    )


def _short(seen: Any) -> str:
    text = repr(seen) if isinstance(seen, str) else str(seen)
    return text if len(text) <= _SEEN_LIMIT else f"{text[:_SEEN_LIMIT]}… ({len(text)} characters)"


async def _look(step: Expect, scene: Scene) -> list[Finding]:
    findings = []
    if step.url is not None:
        url = scene.page.url
        findings.append(Finding("url", shown(step.url), url, is_address(step.url, url)))
    if step.title is not None:
        title = await scene.page.title()
        findings.append(Finding("title", shown(step.title), title, is_text(step.title, title, exact=True)))
    if step.selector is None and step.text is None:
        return findings
    target = scene.locate(step, step.selector or "body")
    seen = await target.evaluate_all(_LOOK)
    count = seen["count"]
    many = "nothing that matches" if count == 0 else f"{count} elements that match, where one is wanted"
    is_one = count == 1
    if step.count is not None:
        findings.append(Finding("count", str(step.count), count, count == step.count))
    for thing, wanted, exact in (("text", step.text, step.exact), ("value", step.value, True)):
        if wanted is not None:
            findings.append(_text(thing, wanted, seen[thing], exact=exact, instead="" if is_one else many))
    if step.visible is not None or step.hidden is not None:
        is_shown = is_one and await target.is_visible()
        words = ("it" if is_shown else "it hidden") if is_one else many
        for thing, flag, want_shown in (
            ("visible", step.visible, step.visible),
            ("hidden", step.hidden, None if step.hidden is None else not step.hidden),
        ):
            if flag is not None:
                holds = is_shown if want_shown else count == 0 or (is_one and not is_shown)
                findings.append(Finding(thing, str(flag).lower(), is_shown == (thing == "visible"), holds, words))
    return findings


def _text(thing: str, wanted: str | Pattern, seen: str | None, *, exact: bool, instead: str) -> Finding:
    holds = not instead and seen is not None and is_text(wanted, seen, exact=exact)
    if seen is None and not instead:
        instead = f"an element that has no {thing}"
    return Finding(thing, shown(wanted), seen, holds, instead)
