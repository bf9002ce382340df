"""Writes docs/steps.md from the steps themselves: their docstrings, their fields and what each field takes."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from cloudsync import spec, steps  # noqa: E402
from cloudsync.step import act, base, keep, read  # noqa: E402

PAGE: Final = ROOT / "docs" / "steps.md"

INTRODUCTION: Final = """# Steps of a browser task

Written by `scripts/steps` from `cloudsync/step/`. A browser task is `{"kind": "browser.run", "steps": […]}`; a file
of steps is a list of them, or an object with `steps` and other fields of the task, in JSON or in YAML:

```yaml
- action: goto
  url: https://example.com/login
- {action: fill, selector: "#user", text: ann}
- {action: fill, selector: "#password", text: "{{secret:shop}}"}
- {action: click, selector: "role=button[name='Log in']"}
- {action: expect, selector: h1, text: Welcome}
- {action: text, selector: "#balance", save_as: balance}
- {action: screenshot, full_page: true, name: after login}
```

The fields are Playwright's, and so are selectors: [its locator
syntax](https://playwright.dev/python/docs/other-locators), as in `#id`, `text=Log in`, `role=button[name='Log
in']`, `xpath=//td`, `css=tr >> nth=2`. The JSON schema is at `/api/v1/steps.schema.json` of the hub. A list that is
wrong is refused before anything runs, with the step's number, the field and what it takes.

Steps run one after the other; the first that fails ends the task, and a screenshot, the page's text and a trace of
that moment are kept. The task's `result.steps` has `{action, name, state, value, duration_ms, error}` for each;
`state` is `succeeded`, `failed` or `skipped`. A value over 64 KiB is cut, and says so.
"""
VARIABLES: Final = """## Variables and secrets

`{{name}}` in a later step's text is what a step with `save_as: name` read: a text as it is, any other value as
JSON. A name that no earlier step saves is refused before anything runs. `{{secret:NAME}}` is what the box's
settings hold under that name: it is filled in on the box, where it is used, and stands in no result, error, log or
trace. Both may stand in any text of a step but `name` and `save_as`, secrets in the task's other fields too.
`\\{{name}}` is the text `{{name}}`. Neither is looked for in what was filled in. A `screenshot` or `pdf` step
shows what the page shows, secrets too; of a task that uses secrets no other picture is kept, be it of its failure or
in its trace.
"""
PARTS_OF_STEPS: Final[tuple[type[base.Part], ...]] = (
    base.Pattern,
    base.Position,
    act.InlineFile,
    read.Extraction,
    keep.Cookie,
    keep.Clip,
    keep.Margin,
)
PARTS_OF_TASKS: Final[tuple[type[base.Part], ...]] = (
    spec.Geolocation,
    spec.Credentials,
    spec.UpstreamProxy,
    spec.Viewport,
)


def page() -> str:
    """The whole page."""
    parts = [INTRODUCTION, VARIABLES, "## Fields of any step\n", fields(base.StepBase), ""]
    parts += ["## Fields of a step that may look into a frame\n", fields(base.Framed, base.StepBase), ""]
    for title, kinds in steps.GROUPS.items():
        parts.append(f"## {title}\n")
        parts += [step(kind) for kind in kinds]
    parts.append("## Objects inside steps\n")
    for part in PARTS_OF_STEPS:
        parts += [f"### {part.__name__}\n\n{sentence(part)}\n", fields(part), ""]
    parts.append("## Fields of the task\n")
    parts.append(fields(spec.BrowserRun))
    for part in PARTS_OF_TASKS:
        parts += [f"\n### {part.__name__}\n\n{sentence(part)}\n", fields(part)]
    return "\n".join(parts).rstrip() + "\n"


def step(kind: type[base.StepBase]) -> str:
    """One step: what it does, its value, its own fields."""
    lines = [f"### {steps.action_of(kind)}\n", sentence(kind)]
    if kind.VALUE:
        lines.append(f"Its value: {kind.VALUE}.")
    if issubclass(kind, base.Framed):
        lines.append("May look into a `frame`.")
    own = fields(kind, base.Framed if issubclass(kind, base.Framed) else base.StepBase, base.StepBase)
    return " ".join(lines[:1]) + "\n" + " ".join(lines[1:]) + ("\n\n" + own if own else "") + "\n"


def sentence(kind: type[Any]) -> str:
    """A docstring on one line."""
    return " ".join((kind.__doc__ or "").split())


def fields(kind: type[Any], *without: type[Any]) -> str:
    """A table of a model's fields but those of others; empty where there are none."""
    hidden = {name for other in without for name in other.model_fields} | {"action", "kind"}
    rows = [row(kind, name) for name in kind.model_fields if name not in hidden]
    return "\n".join(["| field | takes | what |", "| --- | --- | --- |", *rows]) if rows else ""


def row(kind: type[Any], name: str) -> str:
    """A field's line."""
    info = kind.model_fields[name]
    schema = kind.model_json_schema()
    known = schema.get("$defs", {})
    # One that holds itself stands among its own definitions.
    properties = (schema if "properties" in schema else known[kind.__name__])["properties"]
    takes = described(properties[name], known)
    if info.is_required():
        takes += ", required"
    elif info.default is not None and info.default != () and info.default is not False:
        takes += (
            f", default `{figure(info.default)}`" if isinstance(info.default, float) else f", default `{info.default}`"
        )
    text = " ".join((info.description or "").split())
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in (f"`{name}`", takes, text)) + " |"


def described(schema: dict[str, Any], known: dict[str, Any]) -> str:
    """What a field takes, in words."""
    return " or ".join(dict.fromkeys(kinds(schema, known)))


def kinds(schema: dict[str, Any], known: dict[str, Any]) -> Iterator[str]:
    """Each thing that a schema takes, in words."""
    if "$ref" in schema:
        yield known_name(schema["$ref"].rpartition("/")[2], known)
    elif "anyOf" in schema:
        for one in schema["anyOf"]:
            if one.get("type") != "null":
                yield from kinds(one, known)
    elif "discriminator" in schema:
        yield "a step"
    elif "enum" in schema or "const" in schema:
        yield ", ".join(f"`{word}`" for word in schema.get("enum", [schema.get("const")]))
    elif schema.get("type") == "array":
        if "prefixItems" in schema:
            yield "a list of one " + described(schema["prefixItems"][0], known)
        else:
            yield "a list of " + plural(described(schema["items"], known))
    elif schema.get("type") == "object":
        more = schema.get("additionalProperties")
        yield "names, each with " + described(more, known) if isinstance(more, dict) else "an object"
    else:
        yield scalar(schema)


def plural(words: str) -> str:
    """The words for several of it."""
    match words.split(" ")[:3]:
        case ["text"]:
            return "texts"
        case ["a", "step"]:
            return "steps"
        case ["a", "whole", "number"]:
            return words.removeprefix("a ").replace("number", "numbers", 1)
        case _:
            return words


def figure(value: float) -> str:
    """A number without an exponent."""
    return f"{value:,.0f}".replace(",", " ") if value == int(value) else f"{value:g}"


def known_name(name: str, known: dict[str, Any]) -> str:
    """A definition's name, or what it takes where it is no object."""
    definition = known.get(name, {})
    return f"[{name}](#{name.lower()})" if definition.get("type") == "object" else described(definition, {})


def scalar(schema: dict[str, Any]) -> str:
    """A text, number or flag with its limits."""
    match schema.get("type"):
        case "string":
            return "text"
        case "boolean":
            return "true or false"
        case "integer" | "number" as kind:
            low = schema.get("minimum", schema.get("exclusiveMinimum"))
            high = schema.get("maximum", schema.get("exclusiveMaximum"))
            above = "above " if "exclusiveMinimum" in schema else ""
            word = "a whole number" if kind == "integer" else "a number"
            if low is None:
                return word
            if high is None:
                return f"{word} {above or 'from '}{figure(low)}{'' if above else ' on'}"
            return f"{word} {above or 'from '}{figure(low)} to {figure(high)}"
        case _:
            return "any JSON"


def main() -> int:
    """Write the page, or with --check exit with 1 where it is stale."""
    parser = argparse.ArgumentParser(description="Writes docs/steps.md from the steps' docstrings and fields.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if the page is stale")
    parser.add_argument("--file", type=Path, default=PAGE, help="the page, docs/steps.md by default")
    options = parser.parse_args()
    path: Path = options.file
    text = page()
    if options.check:
        is_stale = not path.exists() or path.read_text(encoding="utf-8") != text
        if is_stale:
            print(f"not as the steps say: {path.name}; run scripts/steps", file=sys.stderr)
        return 1 if is_stale else 0
    path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
