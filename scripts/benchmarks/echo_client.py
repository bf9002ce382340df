"""A process that times round trips on one WebSocket: a frame out, a frame back, one at a time.

Its one argument is the address. A request ``{"text", "window_s"}`` is answered ``{"samples_ms", "last"}``: the time of
each round trip made in the window, and the last frame that came back, for the asker to judge.
"""

import asyncio
import json
import sys
from time import perf_counter
from typing import Any

import uvloop
from websockets.asyncio.client import ClientConnection, connect


async def _window(connection: ClientConnection, text: str, window_s: float) -> dict[str, Any]:
    samples: list[float] = []
    last: str | bytes = ""
    until = perf_counter() + window_s
    while not samples or perf_counter() < until:
        began = perf_counter()
        await connection.send(text)
        last = await connection.recv()
        samples.append((perf_counter() - began) * 1000)
    return {"samples_ms": samples, "last": last}


async def _main(address: str) -> None:
    async with connect(address, compression=None, ping_interval=None, proxy=None) as connection:
        while line := await asyncio.to_thread(sys.stdin.readline):
            request = json.loads(line)
            answer = await _window(connection, request["text"], float(request["window_s"]))
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    uvloop.run(_main(sys.argv[1]))
