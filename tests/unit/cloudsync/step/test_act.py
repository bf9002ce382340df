"""Fields of steps that act."""

from typing import Any

import pytest

from cloudsync.step.act import Click, InlineFile, Press, Scroll, SelectOption, SetInputFiles
from tests.unit.cloudsync.step.judge import refused, taken


def test_click_takes_what_playwright_takes() -> None:
    fields = {"button": "right", "click_count": 2, "delay": 5, "position": {"x": 1, "y": 2.5}, "modifiers": ["Shift"]}
    step = taken(Click, {"action": "click", "selector": "a", "force": True, **fields})
    assert (step.button, step.click_count, step.modifiers, step.force) == ("right", 2, ("Shift",), True)


def test_options_are_chosen_one_way_by_one_or_several() -> None:
    choose: dict[str, Any] = {"action": "select_option", "selector": "s"}
    assert taken(SelectOption, {**choose, "label": ["A", "B"]}).label == ("A", "B")
    assert taken(SelectOption, {**choose, "index": [0, 2]}).index == (0, 2)
    assert taken(SelectOption, {**choose, "value": ""}).value == ""
    assert "takes exactly one of label, value, index" in refused(choose)
    assert "takes exactly one of label, value, index" in refused({**choose, "label": "a", "index": 0})
    assert "index: takes a number from 0 on, or a list of them" in refused({**choose, "index": -1})
    assert "label: takes text, or a list of texts" in refused({**choose, "label": 5})


def test_files_are_paths_or_have_their_content() -> None:
    choose: dict[str, Any] = {"action": "set_input_files", "selector": "i"}
    step = taken(
        SetInputFiles, {**choose, "files": ["/a", {"name": "b", "text": ""}, {"name": "c", "data_b64": "aGk="}]}
    )
    assert step.files[1] == InlineFile(name="b", text="")
    assert taken(SetInputFiles, {**choose, "files": []}).files == ()
    for file, said in (
        ({"name": "a"}, "takes exactly one of text, data_b64"),
        ({"name": "a", "text": "b", "data_b64": "aGk="}, "takes exactly one of text, data_b64"),
        ({"name": "a", "data_b64": "%"}, "is no base64"),
        ({"text": "b"}, "takes the path of a file on the box, or"),
        ("", "must not be empty"),
        (1, "takes the path of a file on the box, or"),
    ):
        assert said in refused({**choose, "files": [file]})
    assert "files: takes at most 20 items" in refused({**choose, "files": ["/a"] * 21})


def test_key_goes_to_an_element_or_to_what_has_the_focus() -> None:
    assert taken(Press, {"action": "press", "key": "Enter"}).selector is None
    assert "key is missing" in refused({"action": "press", "selector": "a"})


def test_scroll_goes_somewhere() -> None:
    assert taken(Scroll, {"action": "scroll", "delta_y": -5}).delta_y == -5
    assert "takes a selector, a delta_x or a delta_y" in refused({"action": "scroll"})


@pytest.mark.parametrize(
    "action", ["click", "dblclick", "hover", "focus", "fill", "type", "check", "uncheck", "drag_to"]
)
def test_element_must_be_named(action: str) -> None:
    assert f"step 1 ({action}): selector is missing" in refused({"action": action})
    assert f"step 1 ({action}): selector: must not be empty" in refused({"action": action, "selector": ""})


def test_other_fields_are_looked_at() -> None:
    assert "accept is missing" in refused({"action": "dialog"})
    assert "width: Input should be greater than or equal to 1" in refused(
        {"action": "set_viewport", "width": 0, "height": 1}
    )
    assert "position.y is missing" in refused({"action": "hover", "selector": "a", "position": {"x": 1}})
    assert "modifiers.0: Input should be 'Alt'" in refused({"action": "hover", "selector": "a", "modifiers": ["Hyper"]})
