"""Acting on a page."""

import os
from pathlib import Path
from typing import Any

import pytest

from tests.unit.appliance.browser.stage import Stage

pytestmark = pytest.mark.asyncio(loop_scope="session")

LOG = "<pre id=log></pre><script>const say = text => { log.textContent += text + ';' }</script>"
READ = {"action": "text", "selector": "#log"}


async def test_click_with_button_count_modifiers_and_position(stage: Stage) -> None:
    html = LOG + (
        "<div id=a style='width:200px;height:50px' onclick='say(`c${event.button}${event.shiftKey}`)'"
        " oncontextmenu='say(`m`); event.preventDefault()' ondblclick='say(`d`)'"
        " onmousedown='say(`${event.offsetX},${event.offsetY}`)' onmouseover='say(`o`)'>x</div>"
    )
    value = await stage.on(
        html,
        {"action": "click", "selector": "#a", "position": {"x": 5, "y": 6}},
        {"action": "click", "selector": "#a", "button": "right", "position": {"x": 1, "y": 1}},
        {"action": "click", "selector": "#a", "modifiers": ["Shift"], "position": {"x": 2, "y": 2}},
        {"action": "dblclick", "selector": "#a", "position": {"x": 3, "y": 3}},
        {"action": "hover", "selector": "#log"},
        {"action": "hover", "selector": "#a"},
        READ,
    )
    assert value == "o;o;5,6;c0false;1,1;m;2,2;c0true;3,3;c0false;3,3;c0false;d;o;"


async def test_click_that_is_not_possible_says_what_is_in_the_way(stage: Stage) -> None:
    covered = "<button>b</button><div id=veil style='position:fixed;inset:0'></div>"
    click = {"action": "click", "selector": "button", "timeout_s": 0.6}
    assert '<div id="veil"></div> intercepts pointer events' in await stage.fails(covered, click)
    assert "element is not enabled" in await stage.fails("<button disabled>b</button>", click)
    assert "element is not visible" in await stage.fails("<button style='display:none'>b</button>", click)
    many = await stage.fails("<button>a</button><button>b</button>", click)
    assert "strict mode violation" in many
    assert "resolved to 2 elements" in many
    assert (await stage.on(covered, {**click, "force": True})) is None


async def test_selector_that_is_none_is_said(stage: Stage) -> None:
    said = await stage.fails("<p>", {"action": "click", "selector": "p[", "timeout_s": 1})
    assert "p[" in said
    assert "not done within" not in said


async def test_text_is_filled_typed_pressed_and_cleared(stage: Stage) -> None:
    html = LOG + "<input id=i value=old oninput='say(this.value)'><textarea id=t></textarea>"
    stage.pages.at["/page"] = html
    values = await stage.values(
        {"action": "goto", "url": "@/page"},
        {"action": "fill", "selector": "#i", "text": "new"},
        {"action": "type", "selector": "#i", "text": "er"},
        {"action": "press", "selector": "#i", "key": "Backspace"},
        {"action": "press", "key": "Control+A"},
        {"action": "press", "key": "x"},
        {"action": "fill", "selector": "#t", "text": "a\nb"},
        READ,
        {"action": "value", "selector": "#t"},
        {"action": "focus", "selector": "#i"},
        {"action": "evaluate", "expression": "document.activeElement.id"},
        {"action": "fill", "selector": "#i", "text": ""},
        {"action": "value", "selector": "#i"},
    )
    assert values[7] == "new;newe;newer;newe;x;"
    assert (values[8], values[10], values[12]) == ("a\nb", "i", "")


async def test_what_cannot_be_filled_or_pressed_is_said(stage: Stage) -> None:
    assert "Element is not an <input>" in await stage.fails(
        "<p>x</p>", {"action": "fill", "selector": "p", "text": "x"}
    )
    assert "Unknown key" in await stage.fails("<p>x</p>", {"action": "press", "key": "Entr"})


async def test_boxes_are_ticked_and_options_chosen(stage: Stage) -> None:
    html = (
        "<input type=checkbox id=c><input type=radio name=r id=r1><input type=radio name=r id=r2>"
        "<select id=s><option value=1>One</option><option value=2>Two</option></select>"
        "<select id=m multiple><option value=a>A</option><option value=b>B</option><option value=c>C</option></select>"
    )
    stage.pages.at["/page"] = html
    values = await stage.values(
        {"action": "goto", "url": "@/page"},
        {"action": "check", "selector": "#c"},
        {"action": "check", "selector": "#r2"},
        {"action": "evaluate", "expression": "[c.checked, r1.checked, r2.checked]"},
        {"action": "uncheck", "selector": "#c"},
        {"action": "evaluate", "expression": "c.checked"},
        {"action": "select_option", "selector": "#s", "label": "Two"},
        {"action": "select_option", "selector": "#s", "index": 0},
        {"action": "select_option", "selector": "#s", "value": "2"},
        {"action": "select_option", "selector": "#m", "value": ["a", "c"]},
        {"action": "select_option", "selector": "#m", "label": []},
        {"action": "value", "selector": "#s"},
    )
    assert values[3] == [True, False, True]
    assert values[5] is False
    assert values[6:] == [["2"], ["1"], ["2"], ["a", "c"], [], "2"]


async def test_option_that_is_not_there_is_said(stage: Stage) -> None:
    step = {"action": "select_option", "selector": "select", "label": "Three", "timeout_s": 0.5}
    assert "did not find some options" in await stage.fails("<select><option>One</select>", step)
    assert "Element is not a <select> element" in await stage.fails(
        "<select hidden></select><p>x", {**step, "selector": "p"}
    )
    assert "not a checkbox" in (await stage.fails("<p>x</p>", {"action": "check", "selector": "p"})).lower()


async def test_files_are_chosen_inline_by_path_and_from_earlier_steps(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "on box.txt").write_text("from the box")
    html = (
        '<input type=file multiple onchange="(async () => { for (const f of this.files)'
        " document.title += f.name + '=' + f.type + '=' + (f.size < 99 ? await f.text() : 'long') + ';' })()\">"
    )
    stage.pages.at["/page"] = html
    values = await stage.values(
        {"action": "goto", "url": "@/page"},
        {"action": "screenshot", "name": "shot"},
        {
            "action": "set_input_files",
            "selector": "input",
            "files": [
                {"name": "a.txt", "mime_type": "text/plain", "text": "ä"},
                {"name": "b.bin", "data_b64": "aGk="},
                str(tmp_path / "on box.txt"),
                "shot.png",
            ],
        },
        {"action": "expect", "title": {"regex": "shot"}},
        {"action": "title"},
        {"action": "set_input_files", "selector": "input", "files": []},
        {"action": "evaluate", "expression": "document.querySelector('input').files.length"},
    )
    octets = "application/octet-stream"
    assert values[4] == (
        f"a.txt=text/plain=ä;b.bin={octets}=hi;on box.txt={octets}=from the box;shot.png=image/png=long;"
    )
    assert values[6] == 0


async def test_file_that_is_not_there_is_said(stage: Stage, tmp_path: Path) -> None:
    choose = {"action": "set_input_files", "selector": "input"}
    html = "<input type=file>"
    said = await stage.fails(html, {**choose, "files": ["shot.png"]})
    assert "'shot.png' is no file that an earlier step kept" in said
    missing = str(tmp_path / "none")
    assert f"'{missing}' cannot be read: No such file or directory" in await stage.fails(
        html, {**choose, "files": [missing]}
    )
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for endless in (pipe, Path("/dev/zero"), tmp_path):
        said = await stage.fails(html, {**choose, "files": [str(endless)], "timeout_s": 10})
        assert f"'{endless}' cannot be read: it is no plain file" in said
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "plain")
    (tmp_path / "plain").write_text("plain")
    assert await stage.on(html, {**choose, "files": [str(link)]}) is None
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(200 * 1024 * 1024)
    assert "has more than 40 MiB" in await stage.fails(html, {**choose, "files": [str(large)]})
    assert "Node is not an HTMLInputElement" in await stage.fails(
        "<p>x</p>", {"action": "set_input_files", "selector": "p", "files": [], "timeout_s": 1}
    )


async def test_element_is_dragged_onto_another(stage: Stage) -> None:
    html = LOG + (
        "<div id=from draggable=true ondragstart='event.dataTransfer.setData(`text`, `load`)'>drag</div>"
        "<div id=to style='height:99px' ondragover='event.preventDefault()'"
        " ondrop='say(event.dataTransfer.getData(`text`))'>here</div>"
    )
    assert await stage.on(html, {"action": "drag_to", "selector": "#from", "target": "#to"}, READ) == "load;"
    position = {"source_position": {"x": 1, "y": 1}, "target_position": {"x": 2, "y": 90}}
    assert (
        await stage.on(html, {"action": "drag_to", "selector": "#from", "target": "#to", **position}, READ) == "load;"
    )


async def test_page_and_elements_are_scrolled(stage: Stage) -> None:
    html = (
        "<div id=inner style='overflow:auto;height:100px'><div style='height:900px'></div></div>"
        "<div style='height:3000px'></div><p id=end>end</p>"
    )
    where = {"action": "evaluate", "expression": "[Math.round(scrollY), Math.round(inner.scrollTop)]"}
    stage.pages.at["/page"] = html
    values = await stage.values(
        {"action": "goto", "url": "@/page"},
        {"action": "scroll", "selector": "#inner", "delta_y": 120},
        where,
        {"action": "scroll", "selector": "#end"},
        where,
        {"action": "scroll", "delta_y": -700},
        where,
    )
    assert values[2] == [0, 120]
    assert values[4][0] > 2000
    assert values[6][0] == values[4][0] - 700


DIALOGS = LOG + "<button onclick='say(confirm(`sure?`)); say(prompt(`name?`, `me`)); alert(`bye`)'>b</button>"
PRESS: dict[str, Any] = {"action": "click", "selector": "button"}


async def test_dialogs_are_dismissed_unless_an_answer_is_set(stage: Stage) -> None:
    assert await stage.on(DIALOGS, PRESS, READ) == "false;null;"
    accept = {"action": "dialog", "accept": True}
    assert await stage.on(DIALOGS, accept, PRESS, READ) == "true;me;"
    text = {"action": "dialog", "accept": True, "prompt_text": "Ann"}
    assert await stage.on(DIALOGS, text, PRESS, READ) == "true;Ann;"
    said = await stage.on(DIALOGS, PRESS, {"action": "dialog", "accept": False})
    assert said == [
        {"type": "confirm", "message": "sure?"},
        {"type": "prompt", "message": "name?"},
        {"type": "alert", "message": "bye"},
    ]


async def test_page_that_asks_before_it_is_left_is_left(stage: Stage) -> None:
    html = "<input><script>addEventListener('beforeunload', event => event.preventDefault())</script>"
    stage.pages.at["/other"] = "<title>other</title>"
    typed = {"action": "type", "selector": "input", "text": "x"}
    assert await stage.on(html, typed, {"action": "goto", "url": "@/other"}, {"action": "title"}) == "other"


async def test_storm_of_dialogs_ends_in_the_time_of_its_step(stage: Stage) -> None:
    html = "<button onclick='while (true) alert(1)'>b</button>"
    said = await stage.fails(html, {**PRESS, "timeout_s": 1})
    assert "not done within 1 s" in said or "did not answer within" in said


async def test_viewport_is_set(stage: Stage) -> None:
    size = {"action": "evaluate", "expression": "[innerWidth, innerHeight]"}
    assert await stage.on("<p>", {"action": "set_viewport", "width": 400, "height": 300}, size) == [400, 300]


FRAMES = (
    "<iframe id=outer srcdoc=\"<iframe id=inner srcdoc='<button onclick=this.textContent=&quot;hit&quot;>b</button>'>"
    '</iframe>"></iframe>'
)


async def test_elements_in_frames_are_reached(stage: Stage) -> None:
    stage.pages.at["/page"] = FRAMES
    button = {"selector": "button", "frame": ["#outer", "#inner"]}
    values = await stage.values(
        {"action": "goto", "url": "@/page"},
        {"action": "click", **button},
        {"action": "text", **button},
        {
            "action": "text",
            "selector": "#outer >> internal:control=enter-frame >> #inner >> internal:control=enter-frame >> button",
        },
        {"action": "count", "selector": "button"},
        {"action": "count", "selector": "#inner", "frame": "#outer"},
        {
            "action": "evaluate",
            "expression": "document.querySelectorAll('button').length",
            "frame": ["#outer", "#inner"],
        },
        {"action": "expect", "text": "hit", **button},
        {"action": "wait_for", "text": "hit", "frame": ["#outer", "#inner"]},
    )
    assert values[2:7] == ["hit", "hit", 0, 1, 1]
    assert "is no iframe" in await stage.fails("<p>x</p>", {"action": "evaluate", "expression": "1", "frame": "p"})
    said = await stage.fails(FRAMES, {"action": "click", "selector": "a", "frame": "#none", "timeout_s": 0.4})
    assert 'frame_locator("#none")' in said or "#none" in said
