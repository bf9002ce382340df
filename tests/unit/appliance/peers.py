"""A peer that plays the hub frame by frame, so that a test can play a bad one."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.typing import Subprotocol

from appliance.engine import Engine
from appliance.uplink import LinkState, Uplink
from cloudsync import messages
from tests.unit.appliance.engines import LIMIT_S, until

HUB = "hub-of-the-test"
Play = Callable[["Scene"], Awaitable[None]]


class Scene:
    """One connection of the box, as the hub's end sees it."""

    def __init__(self, connection: ServerConnection, number: int) -> None:
        self.connection = connection
        self.number = number
        """How many connections there were before."""

    async def say(self, kind: str, **fields: Any) -> None:
        """Send a message."""
        await self.connection.send(json.dumps({"type": kind, **fields}))

    async def hear(self, kind: str) -> dict[str, Any]:
        """The next message of this kind; others are passed over."""
        async with asyncio.timeout(LIMIT_S):
            while True:
                message: dict[str, Any] = json.loads(await self.connection.recv())
                if message["type"] == kind:
                    return message

    async def admit(self, *, event_seq: int | None = None, event_id: str | None = None) -> dict[str, Any]:
        """Shake hands as a hub does; the box's hello. `event_seq` is by default what the box says."""
        await self.say("challenge", nonce="n", hub=HUB)
        hello = await self.hear("hello")
        known = hello["event_seq"] if event_seq is None else event_seq
        await self.say("welcome", session=hello["session"], event_seq=known, event_id=event_id)
        await self.hear("settled")
        return hello


@asynccontextmanager
async def linked(engine: Engine, play: Play) -> AsyncIterator[tuple[Uplink, "asyncio.Queue[BaseException | None]"]]:
    """An engine with its uplink to a peer that plays this at each connection; the queue has how each play ended."""
    ends: asyncio.Queue[BaseException | None] = asyncio.Queue()
    count = 0

    async def handle(connection: ServerConnection) -> None:
        nonlocal count
        scene = Scene(connection, count)
        count += 1
        try:
            await play(scene)
        except Exception as error:  # noqa: BLE001 - the test judges it
            ends.put_nowait(error)
        else:
            ends.put_nowait(None)

    async with serve(
        handle, "127.0.0.1", 0, subprotocols=[Subprotocol(messages.SUBPROTOCOL)], compression=None, max_size=None
    ) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        url = f"ws://127.0.0.1:{port}/relay"
        engine.enrolment = replace(engine.enrolment, box_id="box-1", hub=HUB, hub_url=url)
        async with running(engine) as uplink:
            yield uplink, ends


@asynccontextmanager
async def running(engine: Engine) -> AsyncIterator[Uplink]:
    """The uplink of an engine at work."""
    uplink = Uplink(engine)
    task = asyncio.create_task(uplink.run())
    try:
        yield uplink
        if task.done():
            task.result()
    finally:
        await uplink.stop()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until_state(uplink: Uplink, state: LinkState) -> None:
    """Until the link is there."""
    await until(f"the link is {state}", lambda: uplink.status.state is state)
