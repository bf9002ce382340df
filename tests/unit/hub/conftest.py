"""What the tests of the hub start with."""

import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from hub.store import Connection, open_database
from tests.unit.hub.book import Book
from tests.unit.hub.http import Http
from tests.unit.hub.running import RunningHub, running

SECRETS = ("opk_", "opt_", "apiKey", "Bearer ")


@pytest.fixture
async def hub(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> AsyncIterator[RunningHub]:
    """A hub that serves in the test's loop. Its log must hold no error (a test that makes one clears it), no secret."""
    caplog.set_level(logging.INFO)
    caplog.set_level(logging.WARNING, "hub.websockets")
    async with running(tmp_path) as serving:
        yield serving
    for record in caplog.get_records("call"):
        text = record.getMessage()
        assert record.levelno < logging.ERROR, text
        assert record.exc_info is None, text
        assert not [secret for secret in SECRETS if secret in text], text


@pytest.fixture
async def http(hub: RunningHub) -> Http:
    """A client with an operator's key of acme."""
    return hub.http(await hub.key())


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    """One database for all, since making one costs some fsyncs; each test's transaction is rolled back."""
    opened = open_database(tmp_path_factory.mktemp("ledger") / "hub.db")
    yield opened
    opened.close()


@pytest.fixture
def book(connection: Connection) -> Iterator[Book]:
    connection.execute("BEGIN")
    yield Book(connection)
    connection.execute("ROLLBACK")
