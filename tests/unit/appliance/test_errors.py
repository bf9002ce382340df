"""The errors of a box."""

import inspect
import re

from appliance import errors
from appliance.errors import OperatorError


def test_the_tree_at_the_top_names_every_error() -> None:
    named = set(re.findall(r"── (\w+)", errors.__doc__ or ""))
    classes = {name for name, each in inspect.getmembers(errors, inspect.isclass) if issubclass(each, errors.BoxError)}
    assert named == classes - {"BoxError"}


def test_an_operators_error_says_what_to_do() -> None:
    error = OperatorError("it is so", "do this")
    assert (str(error), error.hint) == ("it is so", "do this")
