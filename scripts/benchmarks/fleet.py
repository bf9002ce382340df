"""A process that plays many boxes to one hub: real enrolment, handshakes, logs and pulses, but no task is run.

Arguments: relay URL, web URL, enrolment token, number of boxes, seconds to connect them in. It says
``{"connected": N, "ids": […]}`` once all are in session, answers every task with a success at once, and ends when its
standard input does. The addresses 127.0.0.x spread it, so that no port range runs out.
"""

import asyncio
import json
import os
import socket
import sys
import time
from typing import Any

import urllib3
import uvloop
from websockets.asyncio.client import connect

from cloudsync import identity, messages
from cloudsync.messages import Ack, Challenge, Commands, Hello, Pulse, Settled, TaskEvent, Welcome
from cloudsync.spec import Outcome, Output
from cloudsync.task import TaskState

PULSE_S = 15.0
PORTS_AN_ADDRESS = 1000


def _id() -> str:
    return os.urandom(16).hex()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def enrol(pool: urllib3.PoolManager, web: str, token: str, number: int) -> tuple[str, bytes]:
    """The id and the key of a new box."""
    key = identity.new_key()
    body = {"token": token, "public_key": identity.public_key(key), "name": f"sim-{number}", "hwid": f"sim-{number}"}
    answer = pool.request("POST", f"{web}/api/v1/enrol", json=body)
    if answer.status not in {200, 201}:
        raise SystemExit(f"enrolment refused: {answer.data.decode()}")
    return answer.json()["box_id"], key


class SimulatedBox:
    """One box: it holds no journal, so it never reconnects."""

    def __init__(self, box_id: str, key: bytes) -> None:
        self.box_id = box_id
        self._key = key
        self._incarnation = _id()
        self._event_seq = 0

    async def live(self, relay: str, address: str, in_session: asyncio.Event) -> None:
        """Connect and answer until cancelled."""
        async with connect(
            relay,
            subprotocols=[messages.SUBPROTOCOL],  # type: ignore[list-item]
            compression=None,
            ping_interval=None,
            proxy=None,
            open_timeout=60,
            local_addr=(address, 0),
            family=socket.AF_INET,
        ) as connection:
            challenge = messages.decode_from_hub(str(await connection.recv()))
            assert isinstance(challenge, Challenge)
            hello = Hello(
                box_id=self.box_id,
                incarnation=self._incarnation,
                session=1,
                last=0,
                command_seq=0,
                event_seq=0,
                now_ms=_now_ms(),
            )
            signed = identity.sign(hello, self._key, nonce=challenge.nonce, hub=challenge.hub)
            await connection.send(messages.encode(signed))
            welcome = messages.decode_from_hub(str(await connection.recv()))
            if not isinstance(welcome, Welcome):
                raise SystemExit(f"no welcome: {welcome}")
            await connection.send(messages.encode(Settled(session=1)))
            in_session.set()
            pulse = asyncio.create_task(self._pulse(connection))
            try:
                async for frame in connection:
                    message = messages.decode_from_hub(str(frame))
                    if isinstance(message, Commands):
                        await connection.send(self._answer(message))
            finally:
                pulse.cancel()

    async def _pulse(self, connection: Any) -> None:
        await asyncio.sleep(PULSE_S * int.from_bytes(os.urandom(2)) / 65536)
        while True:
            await connection.send(messages.encode(Pulse(now_ms=_now_ms(), health={"load": 0.1})))
            await asyncio.sleep(PULSE_S)

    def _answer(self, message: Commands) -> str:
        now = _now_ms()
        entries = []
        for command in message.entries:
            if command["type"] != "run":
                continue
            common = {"task_id": command["task_id"], "at_ms": now, "attempt": 1, "boot_id": "sim"}
            outcome = Outcome(
                exit_code=0, stdout=Output.of(b"test\n"), accepted_at_ms=now, started_at_ms=now, ended_at_ms=now
            )
            running = TaskEvent(id=_id(), state=TaskState.RUNNING, **common)
            ended = TaskEvent(id=_id(), state=TaskState.SUCCEEDED, outcome=outcome, **common)
            entries += [messages.encode_entry(running), messages.encode_entry(ended)]
        last = message.from_seq + len(message.entries) - 1
        if not entries:
            return messages.encode(Ack(seq=last))
        frame = messages.encode_events(self._event_seq + 1, entries, last)
        self._event_seq += len(entries)
        return frame


async def main(relay: str, web: str, token: str, count: int, within_s: float) -> None:
    """Bring `count` boxes into session and keep them there."""
    pool = urllib3.PoolManager(maxsize=8)
    boxes = [SimulatedBox(*enrol(pool, web, token, number)) for number in range(count)]
    room = asyncio.Semaphore(50)
    events = [asyncio.Event() for _ in boxes]
    lives = []

    async def bring(number: int) -> None:
        async with room:
            address = f"127.0.0.{10 + number // PORTS_AN_ADDRESS}"
            lives.append(asyncio.create_task(boxes[number].live(relay, address, events[number])))
            await events[number].wait()

    async with asyncio.timeout(within_s):
        await asyncio.gather(*(bring(number) for number in range(count)))
    print(json.dumps({"connected": count, "ids": [box.box_id for box in boxes]}), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    for life in lives:
        life.cancel()
    await asyncio.gather(*lives, return_exceptions=True)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), float(sys.argv[5])))
