"""Files of steps, in JSON and in YAML."""

import json
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from cloudsync.errors import StepsUnreadable
from cloudsync.steps_file import NODES_LIMIT, read_steps

YAML = """
# comments are taken
- action: goto
  url: https://example.com/?a=1#b
- action: fill
  selector: "#name"
  text: yes
  name: 2024-01-02
  timeout_s: 3
- {action: expect, count: 2, visible: true, text: '{{x}}', value: null, timeout_s: 1.5}
- action: evaluate
  expression: |
    () => {
      return 1
    }
"""


def test_yaml_has_the_types_of_json_and_no_others() -> None:
    steps = read_steps(YAML)["steps"]
    assert steps == [
        {"action": "goto", "url": "https://example.com/?a=1#b"},
        {"action": "fill", "selector": "#name", "text": "yes", "name": "2024-01-02", "timeout_s": 3},
        {"action": "expect", "count": 2, "visible": True, "text": "{{x}}", "value": None, "timeout_s": 1.5},
        {"action": "evaluate", "expression": "() => {\n  return 1\n}\n"},
    ]
    assert read_steps(json.dumps(steps))["steps"] == steps


def test_a_key_may_stand_behind_a_question_mark() -> None:
    text = '- action: extract\n  fields:\n    ? "a\\x85"\n    : "h1?"\n    b: "?"\n'
    assert read_steps(text) == {"steps": [{"action": "extract", "fields": {"a\x85": "h1?", "b": "?"}}]}


@pytest.mark.parametrize("text", ["https://example.com/?a=1&b=?", "How are you?", "What? This", "?", "\U0010fffd?"])
@pytest.mark.parametrize("form", ["- {{action: expect, text: {} }}", "- {{text: {}, action: expect}}", "- text: {}"])
def test_a_question_mark_is_text_in_every_form(form: str, text: str) -> None:
    (step,) = read_steps(form.format(text))["steps"]
    assert step["text"] == text


def test_file_may_name_other_fields_of_the_task() -> None:
    expected = {"allow": ["10.0.0.0/8"], "steps": [{"action": "title"}]}
    assert read_steps("allow: [10.0.0.0/8]\nsteps:\n- action: title\n") == expected
    assert read_steps(json.dumps(expected)) == expected


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@settings(deadline=None)
@given(st.lists(json_values, max_size=5), st.sampled_from([None, 1]))
def test_what_json_holds_is_read_back(steps: list[Any], indent: int | None) -> None:
    assert read_steps(json.dumps(steps, indent=indent))["steps"] == steps


@settings(deadline=None)
@given(st.text(max_size=200))
def test_any_text_is_read_or_refused_with_a_sentence(text: str) -> None:
    steps: object = []
    try:
        steps = read_steps(text)["steps"]
    except StepsUnreadable as error:
        refused = str(error)
    else:
        refused = "nothing"
    assert isinstance(steps, list)
    assert refused


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- action: goto\n  url: [", "no YAML: line 2: "),
        ("- action: goto\n  action: title\n", "line 2: 'action' is there twice"),
        ("- action: goto\n  url: {{base}}/x\n", "no YAML: line 2: "),
        ("- action: goto\n  url: {{base}}\n", "line 2: a key is no text; a text that begins with {{ needs quotes"),
        ('[{"action": "goto",\n "url": }]', "no JSON: line 2: Expecting value"),
        ("- !!python/object:os.system x\n", "line 1: 'tag:yaml.org,2002:python/object:os.system' has no place"),
        ("- !!binary aGk=\n", "line 1: 'tag:yaml.org,2002:binary' has no place"),
        ("", "the file is empty"),
        ("# nothing\n", "the file is empty"),
        ("action: goto\n", "an object without 'steps'"),
        ("steps: goto\n", "'steps' is no list"),
        ("goto\n", "neither a list of steps nor an object with 'steps'"),
        ("- a\n---\n- b\n", "no YAML: line 2: "),
        ("\x00", "no YAML: "),
        ("[" * 100_000, "no "),
        ('[{"action": "title", "action": "url"}]', "'action' is there twice in one object"),
        ('[{"action": ' + "9" * 5000 + "}]", "no JSON: too deep, or a number too long"),
        ("- " + "9" * 5000, "no YAML: too deep, or a number too long"),
        ("- *nowhere\n", "no YAML: line 1: found undefined alias"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(text: str, said: str) -> None:
    with pytest.raises(StepsUnreadable) as raised:
        read_steps(text)
    assert str(raised.value).startswith(said)


def test_references_that_multiply_are_refused_quickly() -> None:
    lines = ["- &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"- &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    with pytest.raises(StepsUnreadable, match="too many or too deep"):
        read_steps("\n".join(lines))
    with pytest.raises(StepsUnreadable, match="too many or too deep"):
        read_steps("- &a [*a]\n")
    assert NODES_LIMIT >= 500 * 20


def test_reference_is_taken_as_what_it_refers_to() -> None:
    assert read_steps("steps:\n- &s {action: title}\n- *s\n")["steps"] == [{"action": "title"}] * 2
