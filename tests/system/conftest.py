"""Fixtures of whole-system tests: a plant in a folder on the real disk, ended and removed after the test."""

import shutil
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.system.plant import Plant
from tests.system.program import ROOT


@contextmanager
def opened(name: str) -> Iterator[Plant]:
    """A plant of which nothing runs yet."""
    base = ROOT / ".run" / "system"
    base.mkdir(parents=True, exist_ok=True)
    plant = Plant(Path(tempfile.mkdtemp(prefix=f"{name}-", dir=base)))
    try:
        yield plant
    finally:
        plant.close()
        shutil.rmtree(plant.folder)


@pytest.fixture
def bare_plant() -> Iterator[Plant]:
    """A plant of which nothing runs yet."""
    with opened("bare") as plant:
        yield plant


@pytest.fixture
def hub_plant() -> Iterator[Plant]:
    """A plant whose hub runs, without a box."""
    with opened("hub") as plant:
        plant.start_hub()
        yield plant


@pytest.fixture
def plant() -> Iterator[Plant]:
    """A plant whose hub runs, with box-1 connected."""
    with opened("plant") as plant:
        plant.start_hub()
        plant.start_box()
        yield plant


@pytest.fixture(scope="module")
def shared_plant() -> Iterator[Plant]:
    """As `plant`, for all tests of a file: none of them may break it."""
    with opened("shared") as plant:
        plant.start_hub()
        plant.start_box()
        yield plant


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the logs of a plant whose test failed."""
    report = yield
    if report.failed and report.when == "call":
        plants = (one for one in getattr(item, "funcargs", {}).values() if isinstance(one, Plant))
        report.sections.extend(("logs of the plant", one.logs()) for one in plants)
    return report
