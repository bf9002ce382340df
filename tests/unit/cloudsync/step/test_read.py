"""Fields of steps that read."""

from cloudsync.step.read import AriaSnapshot, Evaluate, Extract, Extraction, ReadText, Table
from tests.unit.cloudsync.step.judge import refused, taken


def test_whole_page_is_read_where_no_element_is_named() -> None:
    assert taken(ReadText, {"action": "text"}).selector == "body"
    assert taken(Table, {"action": "table", "header": False}).header is False
    assert taken(AriaSnapshot, {"action": "aria_snapshot", "mode": "ai", "depth": 3}).max_chars == 20_000
    for action in ("value", "attribute", "count"):
        assert f"step 1 ({action}): selector is missing" in refused({"action": action})


def test_wishes_may_be_nested() -> None:
    fields = {"a": "h1", "b": ["li"], "c": {"selector": "tr", "all": True, "fields": {"d": ["td"]}}}
    step = taken(Extract, {"action": "extract", "fields": fields})
    assert step.fields["b"] == ("li",)
    assert step.fields["c"] == Extraction(selector="tr", all=True, fields={"d": ("td",)})


def test_wish_that_is_none_is_said() -> None:
    for wish in (1, [], ["a", "b"], "", {}, {"selector": "a", "every": True}, {"selector": "a", "fields": {"b": 1}}):
        said = refused({"action": "extract", "fields": {"x": wish}})
        assert said.startswith(
            "step 1 (extract): fields.x: takes a selector, a list of one selector (for all that match)"
        )
    assert "step 1 (extract): fields: takes at least 1 item" in refused({"action": "extract", "fields": {}})


def test_any_json_is_an_argument() -> None:
    for value in (None, 1, "x", [1, {"a": None}], {"a": [True]}):
        assert taken(Evaluate, {"action": "evaluate", "expression": "1", "arg": value}).arg == value


def test_snapshot_has_bounds() -> None:
    assert "max_chars: Input should be less than or equal to 60000" in refused(
        {"action": "aria_snapshot", "max_chars": 60_001}
    )
    assert "mode: Input should be 'ai' or 'default'" in refused({"action": "aria_snapshot", "mode": "x"})
