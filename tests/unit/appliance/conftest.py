"""What tests of the box share: engines on folders of their own, and one hub with boxes as real processes."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.system.plant import Plant
from tests.unit.appliance.browser.stage import Pages
from tests.unit.appliance.engines import Engines


@pytest.fixture
async def engines(tmp_path: Path) -> AsyncIterator[Engines]:
    """Opens boxes without a hub; nothing of them is left after the test."""
    engines = Engines(tmp_path / "box")
    yield engines
    await engines.end()


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    """One running hub for all tests of a module; each makes boxes with names of its own."""
    plant = Plant(tmp_path_factory.mktemp("plant"))
    try:
        plant.start_hub()
        yield plant
    finally:
        plant.close()


@pytest.fixture
def pages() -> Iterator[Pages]:
    """A server with a page at its root."""
    pages = Pages()
    pages.at["/"] = "<title>Home</title><h1>Hello</h1><p id=p>text of the page</p>"
    yield pages
    pages.close()
