"""Starting a browser, or saying why there is none."""

import os
import shutil
from pathlib import Path

import psutil
import pytest
from playwright.async_api import async_playwright

from appliance.browser.errors import BrowserUnable
from appliance.browser.launch import launch


async def test_the_browser_that_is_here_starts_and_is_told_of() -> None:
    async with async_playwright() as playwright:
        browser, told = await launch(playwright, None)
        assert told.version == browser.version
        assert told.has_sandbox == (os.geteuid() != 0)
        assert os.access(told.program, os.X_OK)
        await browser.close()


# The shell makes no socket there, so that the whole browser tells more where both are installed.
@pytest.mark.parametrize("program", [None, shutil.which("chromium")])
async def test_it_starts_however_long_the_name_of_its_temporary_folder_is(
    program: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    others = set(psutil.Process().children(recursive=True))
    async with async_playwright() as playwright:
        browser, _ = await launch(playwright, program)
        (started,) = [
            process
            for process in set(psutil.Process().children(recursive=True)) - others
            if "--headless" in " ".join(process.cmdline()) and "--type=" not in " ".join(process.cmdline())
        ]
        given = started.environ()["TMPDIR"]
        assert Path(given).samefile(folder)
        assert len(f"{given}/org.chromium.Chromium.123456/SingletonSocket") < 108
        await browser.close()
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("program", "code"), [("/no/such/chromium", "no_browser"), (shutil.which("false") or "", "browser_failed")]
)
async def test_one_that_is_not_there_or_does_not_start_is_named_with_what_to_do(program: str, code: str) -> None:
    async with async_playwright() as playwright:
        with pytest.raises(BrowserUnable) as caught:
            await launch(playwright, program)
    assert caught.value.error.code == code
    assert program in caught.value.error.message
    assert "apt-get install chromium-headless-shell" in caught.value.error.hint


async def test_what_the_program_said_before_it_ended_is_the_reason(tmp_path: Path) -> None:
    program = tmp_path / "chromium"
    program.write_text("#!/bin/sh\necho '[7:7:1128/125434.8:FATAL:chrome/main.cc:315] No room for it.' >&2\nexit 1\n")
    program.chmod(0o755)
    async with async_playwright() as playwright:
        with pytest.raises(BrowserUnable) as caught:
            await launch(playwright, str(program))
    assert caught.value.error.message == f"{program} does not start: No room for it."
