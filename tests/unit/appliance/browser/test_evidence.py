"""What is kept of a failure, on real pages and on pages that answer nothing."""

import asyncio
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext

from appliance.browser import evidence
from appliance.browser.secrets import Redactor
from appliance.browser.wire import LeftFile


@pytest_asyncio.fixture(loop_scope="session")
async def context(chromium: Browser) -> AsyncIterator[BrowserContext]:
    """A context whose trace is recorded as a task's."""
    context = await chromium.new_context()
    await context.tracing.start()
    yield context
    await context.close()


def names(files: list[LeftFile]) -> list[str]:
    return sorted(Path(file.path).name for file in files)


@pytest.mark.asyncio(loop_scope="session")
async def test_text_and_trace_of_the_moment_are_kept_without_secrets_and_no_picture_of_one(
    context: BrowserContext, tmp_path: Path
) -> None:
    page = await context.new_page()
    await page.set_content("<title>Shop</title><p>the key is open-sesame</p>")
    redact = Redactor({"key": "open-sesame"}).text
    files = await evidence.keep_failure(context, page, tmp_path, redact, has_secrets=True)
    assert names(files) == ["failure.txt", "trace.zip"]
    text = (tmp_path / "failure.txt").read_text()
    assert text.startswith("Shop\nabout:blank\n")
    assert "the key is {{secret:key}}" in text
    with zipfile.ZipFile(tmp_path / "trace.zip") as trace:
        assert {"0-trace.trace", "1-trace.trace"} <= set(trace.namelist())
        assert [name for name in trace.namelist() if b"open-sesame" in trace.read(name)] == []
        assert b'"type":"frame-snapshot"' in trace.read("1-trace.trace")
        assert [name for name in trace.namelist() if name.endswith((".jpeg", ".png"))] == []
    assert not list(tmp_path.glob(".trace-*"))


@pytest.mark.asyncio(loop_scope="session")
async def test_a_picture_is_kept_where_there_is_no_secret(context: BrowserContext, tmp_path: Path) -> None:
    page = await context.new_page()
    await page.set_content("<p>Shop</p>")
    files = await evidence.keep_failure(context, page, tmp_path, str, has_secrets=False)
    assert names(files) == ["failure.png", "failure.txt", "trace.zip"]
    assert (tmp_path / "failure.png").read_bytes().startswith(b"\x89PNG")
    with zipfile.ZipFile(tmp_path / "trace.zip") as trace:
        assert [name for name in trace.namelist() if name.endswith(".jpeg")]


@pytest.mark.asyncio(loop_scope="session")
async def test_a_secret_where_the_text_is_cut_is_not_kept_in_part(context: BrowserContext, tmp_path: Path) -> None:
    page = await context.new_page()
    await page.set_content("<p></p>")
    fill = "([many, secret]) => { document.querySelector('p').textContent = 'x'.repeat(many) + secret }"
    await page.evaluate(fill, [evidence.TEXT_LIMIT_CHARACTERS - 20, "open-sesame"])
    redact = Redactor({"key": "open-sesame"}).text
    await evidence.keep_failure(context, page, tmp_path, redact, has_secrets=True)
    text = (tmp_path / "failure.txt").read_text()
    assert len(text) == evidence.TEXT_LIMIT_CHARACTERS
    assert text.endswith("x{{secr")


@pytest.mark.asyncio(loop_scope="session")
async def test_a_page_that_answers_nothing_delays_the_outcome_little(
    context: BrowserContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evidence, "LOOK_LIMIT_S", 0.5)
    page = await context.new_page()
    hanging = asyncio.create_task(page.evaluate("() => { for (;;); }"))
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        files = await evidence.keep_failure(context, page, tmp_path, str, has_secrets=False)
    assert names(files) == ["trace.zip"]
    hanging.cancel()
    await asyncio.gather(hanging, return_exceptions=True)


@pytest.mark.asyncio(loop_scope="session")
async def test_without_a_page_the_trace_alone_is_kept(context: BrowserContext, tmp_path: Path) -> None:
    assert evidence.last_page(context) is None
    assert names(await evidence.keep_failure(context, None, tmp_path, str, has_secrets=False)) == ["trace.zip"]


def test_parts_of_a_trace_become_one_file_and_resources_are_kept_once(tmp_path: Path) -> None:
    parts = []
    for number in range(2):
        part = tmp_path / f"{number}.zip"
        with zipfile.ZipFile(part, "w") as zipped:
            zipped.writestr("trace.trace", f"part {number} hidden")
            zipped.writestr("resources/same.png", b"\x89PNG hidden \xff")
        parts.append(part)
    evidence.merge_traces(parts, tmp_path / "trace.zip", lambda text: text.replace("hidden", "…"))
    with zipfile.ZipFile(tmp_path / "trace.zip") as merged:
        assert sorted(merged.namelist()) == ["0-trace.trace", "1-trace.trace", "resources/same.png"]
        assert merged.read("1-trace.trace").decode() == "part 1 …"
        assert merged.read("resources/same.png") == b"\x89PNG hidden \xff"
    assert not parts[0].exists()
