"""Performs the steps that read from a page."""

from typing import Any, Final, assert_never

from playwright.async_api import Locator

from appliance.browser.errors import StepFailed
from appliance.browser.scene import Scene
from cloudsync.step.read import (
    AriaSnapshot,
    Count,
    Evaluate,
    Extract,
    Extraction,
    InnerHtml,
    Links,
    ReadAttribute,
    ReadText,
    ReadValue,
    Table,
    Title,
    Url,
    Wish,
)
from cloudsync.steps import Reading

# Elements that one list of `extract` holds at most.
LIST_LIMIT: Final = 1000
# Far more than is kept of a value, and little enough that a page cannot fill the memory of the process that reads it.
CHARACTERS_LIMIT: Final = 500_000
# More than `as_json` keeps, which says that there were more.
CELLS_LIMIT: Final = 100_000
# A name stands in each row.
COLUMN_LIMIT: Final = 200

_TEXT: Final = f"""element => {{
    const text = element.innerText ?? element.textContent ?? ""
    return [text.slice(0, {CHARACTERS_LIMIT}), text.length]
}}"""
_HTML: Final = f"""element => [element.innerHTML.slice(0, {CHARACTERS_LIMIT}), element.innerHTML.length]"""
_TITLE: Final = f"""() => [document.title.slice(0, {CHARACTERS_LIMIT}), document.title.length]"""
_VALUE: Final = f"""element => {{
    const field = element.matches("input, textarea, select") ? element : element.closest("label")?.control ?? element
    if (!field.matches("input, textarea, select")) throw new Error("Node is not an <input>, <textarea> or <select>")
    return [field.value.slice(0, {CHARACTERS_LIMIT}), field.value.length]
}}"""
_ATTRIBUTE: Final = f"""(element, name) => {{
    const text = element.getAttribute(name)
    return text === null ? null : [text.slice(0, {CHARACTERS_LIMIT}), text.length]
}}"""
# All texts of an answer share what there is room for; each says what it had to leave out.
_CUT: Final = f"""let room = {CHARACTERS_LIMIT}
    const cut = text => {{
        const kept = text.slice(0, room)
        room -= kept.length
        return kept.length < text.length ? `${{kept}}[… ${{text.length - kept.length}} characters left out …]` : kept
    }}
    const shown = element => ((element.innerText ?? element.textContent) || "").trim()"""
_TEXTS: Final = f"""(elements, attribute) => {{
    {_CUT}
    const read = element => attribute === null ? shown(element) : element.getAttribute(attribute)
    return elements.slice(0, {LIST_LIMIT}).map(read).map(text => text === null ? null : cut(text))
}}"""
_LINKS: Final = f"""element => {{
    {_CUT}
    return [...(element.matches("a[href]") ? [element] : []), ...element.querySelectorAll("a[href]")].slice(0, 10000)
        .map(a => ({{text: cut(shown(a)), href: cut(String(a.href.baseVal ?? a.href))}}))
}}"""
_TABLE: Final = f"""(table, wanted) => {{
    {_CUT}
    const grid = [], heads = []
    let cells = 0
    const lines = [...(table.rows ?? table.querySelectorAll("tr"))].slice(0, 10000)
    lines.forEach((line, y) => {{
        grid[y] ??= []
        let x = 0
        for (const cell of line.cells ?? []) {{
            if (cells >= {CELLS_LIMIT}) break
            while (grid[y][x] !== undefined) x++
            const below = lines.length - y, down = Math.min(cell.rowSpan || below, below)
            const right = Math.min(cell.colSpan, 1000), text = shown(cell)
            for (let dy = 0; dy < down; dy++)
                for (let dx = 0; dx < right && cells < {CELLS_LIMIT}; dx++, cells++)
                    (grid[y + dy] ??= [])[x + dx] = cut(text)
            x += right
        }}
        const own = [...(line.cells ?? [])]
        heads[y] = line.closest("thead") !== null || (own.length > 0 && own.every(cell => cell.tagName === "TH"))
    }})
    const rows = grid.map(row => Array.from(row, cell => cell ?? ""))
    if (!(wanted ?? heads[0] ?? false)) return rows
    let from = 1
    while (wanted === null && from < rows.length && heads[from] && lines[from].closest("thead") !== null) from++
    const names = [], known = new Set()
    rows[from - 1].forEach((name, x) => {{
        const base = name.slice(0, {COLUMN_LIMIT}) || `column ${{x + 1}}`
        let unlike = base
        for (let n = 2; known.has(unlike); n++) unlike = `${{base}} ${{n}}`
        known.add(unlike)
        names.push(unlike)
    }})
    const named = (cell, x) => [names[x] ?? `column ${{x + 1}}`, cell]
    return rows.slice(from).map(row => Object.fromEntries(row.map(named)))
}}"""


async def read(step: Reading, scene: Scene) -> Any:
    """Perform the step; what it read."""
    match step:
        case ReadText():
            return _long(await scene.locate(step, step.selector).evaluate(_TEXT, timeout=scene.left_ms()))
        case ReadValue():
            return _long(await scene.locate(step, step.selector).evaluate(_VALUE, timeout=scene.left_ms()))
        case ReadAttribute():
            target = scene.locate(step, step.selector)
            answer = await target.evaluate(_ATTRIBUTE, step.attribute, timeout=scene.left_ms())
            return None if answer is None else _long(answer)
        case InnerHtml():
            return _long(await scene.locate(step, step.selector).evaluate(_HTML, timeout=scene.left_ms()))
        case Count():
            return await scene.locate(step, step.selector).count()
        case Table():
            table = scene.locate(step, step.selector).first
            return await table.evaluate(_TABLE, step.header, timeout=scene.left_ms())
        case Links():
            return await scene.locate(step, step.selector).first.evaluate(_LINKS, timeout=scene.left_ms())
        case Extract():
            outer = scene.locate(step, step.selector).first
            return {name: await _extract(outer, wish) for name, wish in step.fields.items()}
        case Evaluate():
            return await _evaluate(step, scene)
        case AriaSnapshot():
            return await _snapshot(step, scene)
        case Title():
            return _long(await scene.page.evaluate(_TITLE))
        case Url():
            return scene.page.url
        case _:
            assert_never(step)


def _long(answer: Any) -> str:
    """A text that the page may have had to cut."""
    text, length = answer
    left_out = length - len(text.encode("utf-16-le", "surrogatepass")) // 2
    return str(text) if left_out <= 0 else f"{text}\n[… {left_out} characters left out …]"


async def _extract(outer: Locator, wish: Wish) -> Any:
    match wish:
        case str():
            found = await outer.locator(wish).first.evaluate_all(_TEXTS, None)
            return found[0] if found else None
        case Extraction(fields=None):
            inner = outer.locator(wish.selector)
            found = await (inner if wish.all else inner.first).evaluate_all(_TEXTS, wish.attribute)
            return found if wish.all else (found[0] if found else None)
        case Extraction():
            return await _objects(outer, wish)
        case (selector,):
            return await outer.locator(selector).evaluate_all(_TEXTS, None)
        case _:
            raise AssertionError(wish)


async def _objects(outer: Locator, wish: Extraction) -> Any:
    inner = outer.locator(wish.selector)
    count = min(await inner.count(), LIST_LIMIT)
    found = []
    for index in range(count if wish.all else min(count, 1)):
        fields = (wish.fields or {}).items()
        found.append({name: await _extract(inner.nth(index), deeper) for name, deeper in fields})
    return found if wish.all else (found[0] if found else None)


async def _evaluate(step: Evaluate, scene: Scene) -> Any:
    if step.selector is not None:
        target = scene.locate(step, step.selector)
        return await target.evaluate(step.expression, step.arg, timeout=scene.left_ms())
    frame = await scene.frame(step)
    return await frame.evaluate(step.expression, step.arg)


async def _snapshot(step: AriaSnapshot, scene: Scene) -> str:
    target = scene.locate(step, step.selector)
    text = await target.aria_snapshot(mode=step.mode, depth=step.depth, timeout=scene.left_ms())
    if not text.strip():
        raise StepFailed(f"'{step.selector}' has nothing that assistive technology sees")
    if len(text) <= step.max_chars:
        return text
    head = text[: step.max_chars].rpartition("\n")[0]
    return f"{head}\n# {len(text) - len(head)} of {len(text)} characters left out: snapshot a part, or less deep"
