"""The path of a task's output: bytes as they are kept, or live as they come, with the steps of a browser task."""

import asyncio
import base64
from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from typing import Any, Final

import pydantic_core
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from appliance.engine import Engine
from appliance.live import Finished
from appliance.local_api import content, request as asked
from appliance.local_api.tasks import Tasks
from cloudsync.messages import OutputChunk, OutputGap, StepReport, Stream
from cloudsync.pieces import STREAMS, Piece, Sequence
from cloudsync.spec import BashExec, Outcome

# One who does not read holds no more than this; the rest is still in the task's files.
HELD_BYTES: Final = 1024 * 1024
# Lets one who waits show how long, and a daemon hear of one who has gone.
ALIVE_S: Final = 0.5


class Feed:
    """What a running task tells one who watches, until it is read."""

    def __init__(self) -> None:
        self._items: deque[Piece | StepReport] = deque()
        self._bytes = 0
        self._wake = asyncio.Event()

    def offer(self, message: OutputChunk | OutputGap | StepReport) -> bool:
        """Take a message, where there is room."""
        if self._bytes > HELD_BYTES:
            return False
        match message:
            case StepReport():
                self._items.append(message)
            case OutputChunk():
                data = base64.b64decode(message.data_b64)
                self._items.append(Piece(message.stream, message.offset, message.offset + len(data), data))
                self._bytes += len(data)
            case OutputGap():
                self._items.append(Piece(message.stream, message.from_offset, message.to_offset, None))
        self._wake.set()
        return True

    def wake(self) -> None:
        """Nothing more may come: who reads looks around."""
        self._wake.set()

    def take(self) -> list[Piece | StepReport]:
        """What has come."""
        items, self._bytes = list(self._items), 0
        self._items.clear()
        self._wake.clear()
        return items

    async def wait(self, limit_s: float) -> None:
        """Until something comes, or this long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await self._wake.wait()


class OutputPaths:
    """What tasks wrote. `stopping` is set when the daemon goes: what is streamed ends then without its `end`."""

    def __init__(self, engine: Engine, tasks: Tasks, stopping: asyncio.Event) -> None:
        self._engine = engine
        self._tasks = tasks
        self._stopping = stopping

    def routes(self) -> list[Route]:
        """Where it is."""
        return [Route("/tasks/{id}/output", self.get, methods=["GET"])]

    async def get(self, request: Request) -> Response:
        """The bytes of a stream; with follow=1 both as events, from `from_stdout` and `from_stderr` on."""
        row = self._tasks.row(request.path_params["id"])
        asked.known_query(request, "stream", "follow", "from_stdout", "from_stderr")
        stream: Stream = "stderr" if asked.choice(request, "stream", STREAMS) == "stderr" else "stdout"
        if asked.choice(request, "follow", ("0", "1")) == "1":
            seen = {name: asked.number(request, f"from_{name}", 0, 0, 999_999_999_999) for name in STREAMS}
            headers = {"cache-control": "no-store"}
            return StreamingResponse(self._follow(row["id"], seen), media_type="text/event-stream", headers=headers)
        executor = self._engine.executor
        live = executor.tasks.get(row["id"])
        if live is not None:
            # What has such a name in the folder of a browser task is not its output, and may be a link to anything.
            path = f"{live.folder}/{stream}" if live.attempt and isinstance(live.spec, BashExec) else ""
            return content.of_file(request, path, headers={"operis-truncated": "false"})
        outcome = _outcome(executor.outcomes.find(row["id"]))
        output = outcome.stdout if stream == "stdout" else outcome.stderr
        if output.cut_bytes and (whole := self._whole(row["id"], stream)) is not None:
            is_cut = whole["size_bytes"] != output.total_bytes
            headers = {"operis-truncated": "true" if is_cut else "false"}
            return content.of_file(request, executor.artifacts.path(whole["sha256"]), headers=headers)
        headers = {"operis-truncated": "true" if output.cut_bytes else "false"}
        return content.of_bytes(request, output.data(), headers)

    def _whole(self, task_id: str, stream: Stream) -> dict[str, Any] | None:
        """The row of the artifact that holds all that a stream had, where the outcome could not."""
        store = self._engine.executor.artifacts
        for row in store.of_task(task_id):
            if row["name"] == f"{stream}.txt" and row["here"] and content.exists(store.path(row["sha256"])):
                return row
        return None

    async def _follow(self, task_id: str, seen: dict[Stream, int]) -> AsyncIterator[bytes]:
        told = Sequence()
        told.seen.update(seen)
        feed = Feed()
        executor = self._engine.executor
        live = executor.tasks.get(task_id)
        attempt = 0 if live is None else max(1, live.attempt)
        loop = asyncio.get_running_loop()
        ended = loop.create_task(self._engine.wait(task_id))
        ended.add_done_callback(lambda _: feed.wake())
        executor.follow(task_id, dict(seen), feed.offer, who=feed)
        try:
            while not ended.done() and not self._stopping.is_set():
                came = feed.take()
                for event in _fitted(told, came):
                    yield event
                if not came:
                    yield b": alive\n\n"
                    await feed.wait(ALIVE_S)
            if not ended.done():
                return
            for event in _fitted(told, feed.take()):
                yield event
            shown = self._tasks.shown(task_id)
            if attempt and shown["attempt"] > attempt:
                told.restart()
            for piece in told.rest(_outcome(ended.result())):
                yield _event(*piece.event())
            yield _event("end", {"task": shown})
        finally:
            ended.cancel()
            executor.watch.unfollow(task_id, who=feed)


def _outcome(finished: Finished | None) -> Outcome:
    return Outcome() if finished is None else finished.outcome


def _fitted(told: Sequence, items: Iterable[Piece | StepReport]) -> Iterable[bytes]:
    for item in items:
        if isinstance(item, StepReport):
            yield _event("step", item.model_dump(exclude={"type", "task_id"}))
        else:
            for piece in told.fit(item):
                yield _event(*piece.event())


def _event(name: str, data: dict[str, Any]) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + pydantic_core.to_json(data, inf_nan_mode="null") + b"\n\n"
