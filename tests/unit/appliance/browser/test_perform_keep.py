"""Keeping files, cookies and the profile."""

import asyncio
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from appliance.browser.perform_keep import FONTS_LIMIT_S
from tests.unit.appliance.browser.stage import Stage, answer

pytestmark = pytest.mark.asyncio(loop_scope="session")

PAGE = "<body style='margin:0'><div style='width:50px;height:20px;background:red'></div><p style='height:2000px'>x"
GOTO = {"action": "goto", "url": "@/page"}


def png_size(data: bytes) -> tuple[int, int]:
    """Width and height of a PNG (its specification, section 11.2.2)."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")


@pytest.mark.parametrize(
    ("step", "name", "start"),
    [
        ({}, "02-screenshot.png", b"\x89PNG"),
        ({"type": "jpeg", "quality": 50}, "02-screenshot.jpeg", b"\xff\xd8\xff"),
        ({"type": "webp", "name": "shop"}, "shop.webp", b"RIFF"),
        ({"name": "shop.png", "mask": ["div"], "animations": "disabled"}, "shop.png", b"\x89PNG"),
    ],
)
async def test_screenshot_is_kept_in_its_format_under_its_name(
    stage: Stage, step: dict[str, Any], name: str, start: bytes
) -> None:
    stage.pages.at["/page"] = PAGE
    outcome = await stage.perform(GOTO, {"action": "screenshot", **step})
    (file,) = outcome.files
    assert (stage.results[1].value, file.name) == (name, name)
    assert file.media_type == f"image/{name.rpartition('.')[2]}"
    assert file.path.read_bytes().startswith(start)
    assert file.path.parent == stage.folder


async def test_screenshot_is_of_the_window_the_full_page_an_element_or_a_part(stage: Stage) -> None:
    stage.pages.at["/page"] = PAGE
    shoot = {"action": "screenshot"}
    clip = {"x": 1, "y": 2, "width": 30, "height": 10}
    outcome = await stage.perform(
        GOTO, shoot, {**shoot, "full_page": True}, {**shoot, "selector": "div"}, {**shoot, "clip": clip}
    )
    sizes = [png_size(file.path.read_bytes()) for file in outcome.files]
    assert sizes == [(1280, 720), (1280, 2052), (50, 20), (30, 10)]


async def test_names_given_twice_get_a_number(stage: Stage) -> None:
    stage.pages.at["/page"] = PAGE
    shoot = {"action": "screenshot", "name": "a"}
    outcome = await stage.perform(GOTO, shoot, shoot, {**shoot, "name": "A.png"}, {**shoot, "name": "a-2"})
    assert [file.name for file in outcome.files] == ["a.png", "a-2.png", "A-3.png", "a-2-2.png"]
    assert len({file.path for file in outcome.files}) == 4


async def test_element_that_is_not_there_cannot_be_shot(stage: Stage) -> None:
    step = {"action": "screenshot", "selector": "#none", "timeout_s": 0.4}
    assert 'waiting for locator("#none")' in await stage.fails(PAGE, step)


async def test_page_whose_font_never_comes_is_shown_without_it(stage: Stage) -> None:
    release = threading.Event()

    def hang(_: BaseHTTPRequestHandler) -> None:
        release.wait(30)

    stage.pages.at["/font"] = hang
    html = "<style>@font-face { font-family: f; src: url(/font) } p { font-family: f }</style><p>text</p>"
    stage.pages.at["/page"] = html
    goto = {**GOTO, "wait_until": "domcontentloaded"}
    try:
        outcome = await stage.perform(goto, {"action": "screenshot"}, {"action": "screenshot", "selector": "p"})
    finally:
        release.set()
    assert outcome.error is None
    assert [file.path.read_bytes()[:4] for file in outcome.files] == [b"\x89PNG"] * 2
    assert FONTS_LIMIT_S * 1000 <= stage.results[1].duration_ms < FONTS_LIMIT_S * 1000 + 5000


async def test_page_is_printed(stage: Stage) -> None:
    stage.pages.at["/page"] = PAGE
    more = {"format": "A5", "landscape": True, "margin": {"top": "1cm"}, "page_ranges": "1"}
    outcome = await stage.perform(GOTO, {"action": "pdf"}, {"action": "pdf", "name": "bill", **more})
    assert [(file.name, file.media_type) for file in outcome.files] == [
        ("02-pdf.pdf", "application/pdf"),
        ("bill.pdf", "application/pdf"),
    ]
    assert all(file.path.read_bytes().startswith(b"%PDF") for file in outcome.files)
    assert "Page range" in await stage.fails(PAGE, {"action": "pdf", "page_ranges": "9-12"})


def attachment(name: str, body: bytes = b"content", **more: str) -> Any:
    """A file that the browser saves."""
    return answer(200, body, Content_Disposition=f'attachment; filename="{name}"', **more)


async def test_file_that_a_click_starts_is_kept(stage: Stage) -> None:
    stage.pages.at |= {"/page": "<a href=/get?secret=1>get</a>", "/get": attachment("report 1.pdf", b"%PDF-")}
    outcome = await stage.perform(GOTO, {"action": "download", "selector": "a"}, {"action": "title"})
    assert outcome.error is None
    (file,) = outcome.files
    assert stage.results[1].value == {
        "file": "report 1.pdf",
        "suggested_name": "report 1.pdf",
        "url": f"{stage.pages.url}/get?secret=1",
        "size_bytes": 5,
    }
    assert (file.name, file.media_type, file.path.read_bytes()) == ("report 1.pdf", "application/pdf", b"%PDF-")


@pytest.mark.parametrize(
    ("path", "response", "name"),
    [
        ("/a.bin", attachment("b.bin"), "b.bin"),
        ("/page.html", answer(200, b"content", Content_Type="text/html"), "page.html"),
        ("/a.txt", answer(200, b"content", Content_Type="text/plain", Content_Disposition="inline"), "a.txt"),
        ("/inline", answer(200, b"content", Content_Disposition='inline; filename="c.txt"'), "c.txt"),
        ("/moved", answer(302, b"", Location="/a.dat"), "a.dat"),
        ("/evil", attachment("../../etc/passwd"), "passwd"),
    ],
)
async def test_file_at_an_address_is_kept_whatever_the_browser_would_do_with_it(
    stage: Stage, path: str, response: Any, name: str
) -> None:
    stage.pages.at |= {"/page": "<h1>here</h1>", "/a.dat": answer(200, b"content"), path: response}
    outcome = await stage.perform(GOTO, {"action": "download", "url": f"@{path}"}, {"action": "text", "selector": "h1"})
    assert outcome.error is None, outcome.error
    (file,) = outcome.files
    assert file.name.endswith(name)
    assert "/" not in file.name
    assert file.path.read_bytes() == b"content"
    assert stage.results[2].value == "here"


async def test_download_takes_the_cookies_of_the_browser(stage: Stage) -> None:
    def only_with_cookie(handler: BaseHTTPRequestHandler) -> None:
        answer(200 if "k=v" in handler.headers.get("Cookie", "") else 403, b"in")(handler)

    stage.pages.at["/in"] = only_with_cookie
    fetch = {"action": "download", "url": "@/in", "name": "in.txt"}
    outcome = await stage.perform(fetch)
    assert outcome.error is not None
    assert "the address answered with status 403" in outcome.error.message
    cookie = {"name": "k", "value": "v", "url": stage.pages.url}
    outcome = await stage.perform({"action": "set_cookies", "cookies": [cookie]}, fetch)
    assert outcome.error is None
    assert [file.name for file in outcome.files] == ["in.txt"]


def endless(stop: threading.Event, chunk: bytes = b"x" * 65536, gone: threading.Event | None = None) -> Any:
    """A file that never ends; `gone` is set where its reader went away."""

    def respond(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Disposition", "attachment; filename=endless.bin")
        handler.end_headers()
        try:
            while not stop.wait(0.005):
                handler.wfile.write(chunk)
        except OSError:
            if gone is not None:
                gone.set()

    return respond


@pytest.mark.parametrize("by", ["click", "address"])
async def test_file_that_is_too_large_is_not_kept(stage: Stage, by: str) -> None:
    stop = threading.Event()
    stage.pages.at |= {"/page": "<a href=/endless>get</a>", "/endless": endless(stop)}
    how = {"selector": "a"} if by == "click" else {"url": "@/endless"}
    try:
        outcome = await stage.perform(GOTO, {"action": "download", "max_mib": 0.5, **how})
    finally:
        stop.set()
    assert outcome.error is not None
    assert "the file has more than 0.5 MiB" in outcome.error.message
    assert "max_mib" in outcome.error.hint
    assert (outcome.files, list(stage.folder.iterdir())) == ([], [])


async def test_file_that_does_not_end_in_time_is_not_kept(stage: Stage) -> None:
    stop = threading.Event()
    stage.pages.at |= {"/page": "<a href=/endless>get</a>", "/endless": endless(stop, b"x" * 100)}
    try:
        outcome = await stage.perform(GOTO, {"action": "download", "selector": "a", "timeout_s": 0.8})
    finally:
        stop.set()
    assert outcome.error is not None
    assert "the download did not end in time" in outcome.error.message
    assert list(stage.folder.iterdir()) == []


async def test_click_that_starts_no_download_is_said(stage: Stage) -> None:
    said = await stage.fails("<a>no</a>", {"action": "download", "selector": "a", "timeout_s": 0.5})
    assert "no download began after 'a' was clicked" in said
    said = await stage.fails("<p>", {"action": "download", "url": "file:///etc/passwd"})
    assert said.startswith("blocked: ")
    said = await stage.fails("<p>", {"action": "download", "url": "http://127.0.0.1:9/"})
    assert "ERR_" in said


async def test_download_that_nobody_asked_for_is_not_kept(stage: Stage) -> None:
    stop, gone = threading.Event(), threading.Event()
    stage.pages.at |= {"/page": "<a href=/endless>get</a>", "/endless": endless(stop, gone=gone)}
    try:
        outcome = await stage.perform(
            GOTO, {"action": "click", "selector": "a"}, {"action": "wait_for", "milliseconds": 300}
        )
        assert await asyncio.to_thread(gone.wait, 10)
    finally:
        stop.set()
    assert (outcome.error, outcome.files) == (None, [])


async def test_cookies_are_set_and_read_as_they_were_set(stage: Stage) -> None:
    cookies: list[dict[str, Any]] = [
        {"name": "a", "value": "1", "url": stage.pages.url},
        {"name": "b", "value": "2", "domain": "example.com", "expires": 4_000_000_000.0, "httpOnly": True,
         "secure": True, "sameSite": "None"},
    ]  # fmt: skip
    values = await stage.values(
        {"action": "set_cookies", "cookies": cookies},
        {"action": "get_cookies"},
        {"action": "get_cookies", "urls": [stage.pages.url]},
    )
    both = {cookie["name"]: cookie for cookie in values[1]}
    assert both["a"]["value"] == "1"
    assert "expires" not in both["a"]
    assert both["b"] == cookies[1] | {"path": "/", "expires": both["b"]["expires"]}
    assert [cookie["name"] for cookie in values[2]] == ["a"]
    again = await stage.values({"action": "set_cookies", "cookies": values[1]}, {"action": "get_cookies"})
    assert {cookie["name"]: cookie for cookie in again[1]} == both


async def test_profile_is_to_be_saved_only_where_the_task_asked_and_succeeded(stage: Stage, tmp_path: Path) -> None:
    stage.pages.at["/page"] = PAGE
    save = {"action": "save_profile"}
    assert (await stage.perform(GOTO, save, profile="p")).saved_state_wanted is True
    assert (await stage.perform(GOTO, profile="p")).saved_state_wanted is False
    fails = {"action": "click", "selector": "#none", "timeout_s": 0.2}
    assert (await stage.perform(GOTO, save, fails, profile="p")).saved_state_wanted is False
