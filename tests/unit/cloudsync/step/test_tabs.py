"""Fields of steps on tabs."""

from typing import Any

import pytest

from cloudsync.step.tabs import CloseTab, NewTab, SwitchTab
from tests.unit.cloudsync.step.judge import refused, taken


def test_tab_is_named_one_way() -> None:
    assert taken(SwitchTab, {"action": "switch_tab", "title": {"regex": "x"}}).index is None
    assert taken(SwitchTab, {"action": "switch_tab", "index": 0}).index == 0
    assert taken(CloseTab, {"action": "close_tab"}).index is None
    assert taken(NewTab, {"action": "new_tab", "url": "x", "wait_until": "commit"}).url == "x"


@pytest.mark.parametrize("fields", [{}, {"index": 0, "url": "x"}, {"url": "x", "title": "y"}])
def test_tab_that_is_named_by_nothing_or_twice_is_said(fields: dict[str, Any]) -> None:
    assert refused({"action": "switch_tab", **fields}) == "step 1 (switch_tab): takes exactly one of index, url, title"


def test_index_counts_from_0() -> None:
    assert "index: Input should be greater than or equal to 0" in refused({"action": "close_tab", "index": -1})
