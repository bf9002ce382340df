"""The errors of a box."""

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

from appliance import errors
from appliance.errors import OperatorError


def test_the_tree_at_the_top_names_every_error() -> None:
    named = set(re.findall(r"── (\w+)", errors.__doc__ or ""))
    classes = {name for name, each in inspect.getmembers(errors, inspect.isclass) if issubclass(each, errors.BoxError)}
    assert named == classes - {"BoxError"}


def test_an_operators_error_says_what_to_do() -> None:
    error = OperatorError("it is so", "do this")
    assert (str(error), error.hint) == ("it is so", "do this")


def bodies() -> Iterator[tuple[str, ast.Call]]:
    """Every error that a task can end with, as the source makes it."""
    for path in sorted(Path(inspect.getfile(errors)).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "ErrorBody":
                yield f"{path.name}:{node.lineno}", node


def test_an_error_of_a_task_says_what_to_do_unless_it_was_somebodys_wish() -> None:
    found = {place: {each.arg: ast.unparse(each.value) for each in call.keywords} for place, call in bodies()}
    assert len(found) > 10
    assert [place for place, given in found.items() if "hint" not in given and given["code"] != "'cancelled'"] == []
