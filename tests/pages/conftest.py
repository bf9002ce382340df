"""A whole Operis for the tests of pages and applications."""

from collections.abc import Iterator

import pytest

from tests.system.conftest import opened
from tests.system.plant import Plant


@pytest.fixture(scope="module")
def shared_plant() -> Iterator[Plant]:
    """A hub with box-1 connected, for all tests of a file: none of them may break it."""
    with opened("pages") as plant:
        plant.start_hub()
        plant.start_box()
        yield plant
