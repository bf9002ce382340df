"""The union of all steps: as JSON, YAML and schema."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings, strategies as st
from pydantic import ValidationError

from cloudsync.steps import ACTIONS, GROUPS, MAX_STEPS, STEPS, fields_of, steps_schema
from cloudsync.steps_file import read_steps
from tests.unit.cloudsync.step.judge import refused

# The table of the issue that asked for them.
WANTED = {
    "Go": "goto back forward reload wait_for",
    "Act": "click dblclick hover focus fill type press check uncheck select_option set_input_files drag_to scroll"
    " dialog set_viewport",
    "Read": "text value attribute inner_html count table links extract evaluate aria_snapshot title url",
    "Check": "expect",
    "Keep": "screenshot pdf download get_cookies set_cookies save_profile",
    "Tabs": "new_tab switch_tab close_tab",
}
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="{}\\/"), min_size=1, max_size=8).filter(str.strip)


def test_every_step_is_there() -> None:
    assert {title: len(kinds) for title, kinds in GROUPS.items()} == {
        title: len(names.split()) for title, names in WANTED.items()
    }
    assert list(ACTIONS) == " ".join(WANTED.values()).split()


def test_fields_of_a_step_begin_with_its_own() -> None:
    assert fields_of(ACTIONS["fill"]) == [
        "frame", "selector", "text", "force", "name", "timeout_s", "continue_on_error", "save_as",
    ]  # fmt: skip


def of_schema(schema: Mapping[str, Any], known: Mapping[str, Any], depth: int = 0) -> st.SearchStrategy[Any]:
    """JSON that a schema takes; other conditions of a step may refuse it."""
    if "$ref" in schema:
        return of_schema(known[schema["$ref"].rpartition("/")[2]], known, depth + 1)
    if "anyOf" in schema:
        ways = [way for way in schema["anyOf"] if depth < 5 or "$ref" not in way]
        return st.one_of([of_schema(way, known, depth) for way in ways])
    if "const" in schema or "enum" in schema:
        return st.sampled_from(schema.get("enum", [schema.get("const")]))
    match schema.get("type"):
        case "string":
            return TEXTS
        case "boolean":
            return st.booleans()
        case "null":
            return st.none()
        case "integer":
            return st.integers(schema.get("minimum", -99), schema.get("maximum", 10**6))
        case "number":
            low = schema.get("minimum", schema.get("exclusiveMinimum", -1e6) + 0.5)
            return st.floats(low, schema.get("maximum", 1e6)) | st.integers(int(low) + 1, int(low) + 1)
        case "array" if "prefixItems" in schema:
            return st.tuples(*[of_schema(item, known, depth + 1) for item in schema["prefixItems"]]).map(list)
        case "array":
            items = of_schema(schema["items"], known, depth + 1)
            return st.lists(items, min_size=schema.get("minItems", 0), max_size=3)
        case "object" if "properties" in schema:
            required = set(schema.get("required", ()))
            fields = {name: of_schema(field, known, depth + 1) for name, field in schema["properties"].items()}
            return st.fixed_dictionaries(
                {name: field for name, field in fields.items() if name in required},
                optional={name: field for name, field in fields.items() if name not in required},
            )
        case "object":
            return st.dictionaries(
                TEXTS, of_schema(schema["additionalProperties"], known, depth + 1), min_size=1, max_size=2
            )
        case _:
            return st.none() | st.integers() | TEXTS | st.lists(st.none() | TEXTS, max_size=2)


SCHEMA = STEPS.json_schema()


class Quoted(yaml.SafeDumper):
    """Writes each text in quotes: PyYAML's own rules for going without are those of another YAML."""


Quoted.add_representer(str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"'))


def is_taken(step: Any) -> bool:
    try:
        STEPS.validate_python([step])
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize("action", ACTIONS)
@settings(suppress_health_check=list(HealthCheck), max_examples=25, deadline=None)
@given(data=st.data())
def test_steps_are_the_same_as_json_and_yaml_and_written_again(action: str, data: st.DataObject) -> None:
    kind = SCHEMA["items"]["discriminator"]["mapping"][action]
    step = data.draw(of_schema({"$ref": kind}, SCHEMA["$defs"]).filter(is_taken))
    (made,) = STEPS.validate_python([step])
    assert STEPS.validate_json(json.dumps([step])) == (made,)
    assert STEPS.validate_json(f"[{made.model_dump_json(exclude_none=True)}]") == (made,)
    assert STEPS.validate_python(read_steps(yaml.dump([step], Dumper=Quoted))["steps"]) == (made,)
    assert STEPS.validate_python(read_steps(json.dumps([step]))["steps"]) == (made,)


def test_schema_says_of_each_step_what_it_takes() -> None:
    schema = steps_schema()
    assert (schema["$schema"], schema["minItems"], schema["maxItems"]) == (
        "https://json-schema.org/draft/2020-12/schema", 1, MAX_STEPS,
    )  # fmt: skip
    assert schema["$defs"]["Extract"]["properties"]["fields"]["minProperties"] == 1
    for action, reference in schema["items"]["discriminator"]["mapping"].items():
        definition = schema["$defs"][reference.rpartition("/")[2]]
        assert definition["additionalProperties"] is False
        assert definition["description"], action
        assert set(definition["properties"]) == {"action", *fields_of(ACTIONS[action])}
        assert all(field.get("description") for name, field in definition["properties"].items() if name != "action"), (
            action
        )


def test_list_has_at_least_one_step_and_not_too_many() -> None:
    step = {"action": "title"}
    assert refused() == "steps: takes at least 1 item"
    assert refused(*[step] * (MAX_STEPS + 1)) == f"steps: takes at most {MAX_STEPS} items"
    assert len(STEPS.validate_python([step] * MAX_STEPS)) == MAX_STEPS
