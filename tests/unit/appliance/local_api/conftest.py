"""A served engine, and who calls it."""

from collections.abc import AsyncIterator

import pytest

from appliance import status
from appliance.engine import Engine
from appliance.live import now_ms
from appliance.local_api.server import LocalApi
from appliance.uplink import Uplink
from tests.unit.appliance.engines import Engines
from tests.unit.appliance.local_api.caller import Call


@pytest.fixture
async def served(engines: Engines) -> AsyncIterator[Engine]:
    """An engine whose local API answers."""
    engine = await engines.open()
    uplink = Uplink(engine)
    started_ms = now_ms()
    api = LocalApi(engine, lambda: status.of_daemon(engine, uplink, started_ms))
    api.start()
    yield engine
    await api.stop()
    assert not engine.folder.local_api.exists()


@pytest.fixture
def call(served: Engine) -> Call:
    """Calls its API."""
    return Call(served.folder.path)
