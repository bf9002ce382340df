"""Reads the steps of a browser task as people write them, in JSON or in YAML: the same, whichever it is."""

import json
import re
from typing import Any, Final

from cloudsync.errors import StepsUnreadable

# Far above any task that a hub takes; what a YAML file repeats by reference grows beyond what it seems.
NODES_LIMIT: Final = 100_000
# A question mark; one that begins a line says that a key follows.
_MARK: Final = re.compile(r"^(?P<key>[ -]*\?(?=\s))|\?", re.MULTILINE)
_STR, _SEQ, _MAP = (f"tag:yaml.org,2002:{kind}" for kind in ("str", "seq", "map"))
# The scalars of YAML 1.2's core schema, less octals: no `yes`, no dates, no base 60.
_SCALARS: Final = {
    "null": (re.compile(r"(?:~|null|Null|NULL|)\Z"), ["~", "n", "N", ""]),
    "bool": (re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z"), list("tTfF")),
    "int": (re.compile(r"[-+]?[0-9]+\Z"), list("-+0123456789")),
    "float": (re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z"), list("-+.0123456789")),
}


def read_steps(text: str) -> dict[str, Any]:
    """The fields of a browser task that a file holds: `steps`, and any others that it names beside them.

    The file is a list of steps, or an object with `steps`. `StepsUnreadable` names the line. Whether the steps are
    right is not looked at here.
    """
    match _load(text):
        case [*steps]:
            return {"steps": steps}
        case {"steps": [*_], **_others} as task:
            return dict(task)
        case {"steps": _, **_others}:
            raise StepsUnreadable("'steps' is no list")
        case dict():
            raise StepsUnreadable("an object without 'steps'")
        case _:
            raise StepsUnreadable("neither a list of steps nor an object with 'steps'")


def _load(text: str) -> Any:
    text = text.removeprefix("\ufeff")
    if text.lstrip()[:1] in {"[", "{"}:
        try:
            return json.loads(text, object_pairs_hook=_once)
        except json.JSONDecodeError as error:
            # YAML may begin so too; but what is meant as JSON is best told of as JSON.
            if '"action"' in text:
                raise StepsUnreadable(f"no JSON: line {error.lineno}: {error.msg}") from None
        except (RecursionError, ValueError):
            raise StepsUnreadable("no JSON: too deep, or a number too long") from None
    return _load_yaml(text)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise StepsUnreadable(f"'{twice[:40]}' is there twice in one object")
    return found


def _load_yaml(text: str) -> Any:
    # Only here: most commands never read a file of steps.
    import yaml

    class Loader(yaml.SafeLoader):
        """YAML with the types of JSON."""

        yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - as PyYAML has it

        def compose_scalar_node(self, anchor: dict[Any, yaml.Node]) -> yaml.ScalarNode:
            node = super().compose_scalar_node(anchor)
            node.value = node.value.replace(stand_in, "?")
            return node

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            seen: set[str] = set()
            for key, _ in node.value:
                line = key.start_mark.line + 1
                if not isinstance(key, yaml.ScalarNode):
                    raise StepsUnreadable(f"line {line}: a key is no text; a text that begins with {{{{ needs quotes")
                if key.value in seen:
                    raise StepsUnreadable(f"line {line}: '{key.value[:40]}' is there twice")
                seen.add(key.value)
                key.tag = _STR
            return super().construct_mapping(node, deep=deep)

    # Between braces PyYAML ends a text at each question mark, as in an address with a query; YAML does not.
    stand_in = next((one for one in map(chr, range(0x10FFFD, 0x10FF00, -1)) if one not in text), "?")
    text = _MARK.sub(lambda found: found[0] if found["key"] is not None else stand_in, text)
    for kind, (pattern, first) in _SCALARS.items():
        Loader.add_implicit_resolver(f"tag:yaml.org,2002:{kind}", pattern, first)
    try:
        loader = Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                raise StepsUnreadable("the file is empty")
            _check(node, [NODES_LIMIT], 0)
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}: " if mark else ""
        raise StepsUnreadable(f"no YAML: {where}{error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise StepsUnreadable(f"no YAML: {str(error).splitlines()[0]}") from None
    except (RecursionError, ValueError):
        raise StepsUnreadable("no YAML: too deep, or a number too long") from None


def _check(node: Any, left: list[int], depth: int) -> None:
    """Refuses what grows without end, by depth or by references, and what JSON has no word for."""
    left[0] -= 1
    if left[0] < 0 or depth > 100:
        raise StepsUnreadable("too many or too deep: a file of steps is not that large")
    known = {f"tag:yaml.org,2002:{kind}" for kind in ("str", "seq", "map", *_SCALARS)}
    if node.tag not in known:
        raise StepsUnreadable(f"line {node.start_mark.line + 1}: '{node.tag[:60]}' has no place in a file of steps")
    if node.tag == _MAP:
        for _, value in node.value:
            _check(value, left, depth + 1)
    elif node.tag == _SEQ:
        for value in node.value:
            _check(value, left, depth + 1)
