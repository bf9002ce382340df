"""Following a task to its end: its output as it comes, across broken connections, each byte once."""

import json
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Final

from cloudsync.terminal.copy import Copy, Kept
from cloudsync.terminal.sink import STREAMS, Sink, Stream
from cloudsync.terminal.status_line import Reason, StatusLine
from cloudsync.terminal.stream import BadStream, EventParser, ServerEvent
from hub.client.errors import ClientError, Refused, Unreachable
from hub.client.http import PASSING_STATUSES, PROGRAM, Hub, segment
from hub.client.waiting import is_final, reason

# How often a waiting operator's view is refreshed, and the task is asked for: more rarely when the wait is long.
TICK_S: Final = 1.0
LOOK_S: Final = 2.0
LONG_WAIT_S: Final = 60.0
LONG_LOOK_S: Final = 5.0
# A stream that says nothing this long after the task is known to have ended is not waited for.
END_WITHIN_S: Final = 5.0
# A hub that is restarted or moved is back by then; after it somebody has to look.
GIVE_UP_S: Final = 600.0
RETRY_S: Final = (0.2, 0.5, 1.0, 2.0, 5.0)
READ_BYTES: Final = 65536


class Events(threading.Thread):
    """One connection to a stream of events, read beside the one who waits, so that the wait can be shown and ended.

    `items` gives events, then None where the stream ends or the `ClientError` that ended it.
    """

    def __init__(
        self, hub: Hub, path: str, query: Mapping[str, str | int | None], headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(name=f"events {path}", daemon=True)
        self.items: queue.Queue[ServerEvent | ClientError | None] = queue.Queue()
        self._hub = hub
        self._path = path
        self._query = query
        self._headers = dict(headers or {})
        self.opened = False
        """Whether the hub has begun to answer."""
        self.start()

    def run(self) -> None:
        """Read until the end; the last item says how it came."""
        try:
            for event in self._read():
                self.items.put(event)
        except ClientError as error:
            self.items.put(error)
        else:
            self.items.put(None)

    def _read(self) -> Iterator[ServerEvent]:
        parser = EventParser()
        with self._hub.open(self._path, self._query, {"Accept": "text/event-stream", **self._headers}) as response:
            if not response.headers.get("Content-Type", "").startswith("text/event-stream"):
                raise self._hub.no_hub("answered with something else than a stream of events")
            self.opened = True
            while data := response.read1(READ_BYTES):
                try:
                    yield from parser.feed(data)
                except BadStream as error:
                    raise self._hub.no_hub(f"sent {error}") from error


class Follower:
    """Follows one task into its sinks and tells the status line what it waits for. `on_step` hears of each step."""

    def __init__(
        self,
        hub: Hub,
        task: dict[str, Any],
        sinks: Mapping[Stream, Sink],
        status: StatusLine,
        on_step: Callable[[dict[str, Any]], None] = lambda _: None,
    ) -> None:
        self.task = task
        self._hub = hub
        self._path = f"tasks/{segment(str(task['id']))}"
        self._copy = Copy(sinks, status, keeper="hub", logs=f"'{PROGRAM} logs {task['id']}'")
        self._status = status
        self._on_step = on_step
        self._box: dict[str, Any] | None = None
        self._began = self._news = time.monotonic()
        self._looked = float("-inf")
        self._final_since: float | None = None
        self._broken_since: float | None = None
        self._failures = 0
        self._whole = False

    def to_end(self) -> dict[str, Any]:
        """Follow until the task is final and its output is written; the task as it ended."""
        while not self._streamed():
            self._come_again()
            if is_final(self.task):
                break
        self._status.clear()
        for stream in STREAMS:
            self._copy.complete(stream, partial(kept_output, self._hub, self._path), whole=self._whole)
        return self.task

    def _streamed(self) -> bool:
        """Follow over one connection; whether that came to the task's end."""
        events = Events(self._hub, f"{self._path}/output", {"follow": 1, **self._copy.had})
        while True:
            try:
                item = events.items.get(timeout=self._patience_s())
            except queue.Empty:
                self._look()
                if self._final_since is not None and time.monotonic() - self._final_since > END_WITHIN_S:
                    return True
                continue
            match item:
                case ServerEvent():
                    self._heal()
                    if self._take(item):
                        return True
                case ClientError() if not is_passing(item):
                    raise item
                case _:
                    return False

    def _take(self, event: ServerEvent) -> bool:
        """Act on an event; whether it was the last."""
        try:
            data = json.loads(event.data)
            match event.name:
                case "output" | "gap":
                    if self._copy.take(event.name, data):
                        self._news = time.monotonic()
                case "step":
                    self._news = time.monotonic()
                    self._status.clear()
                    self._on_step(data)
                case "end":
                    self.task = self._hub.named("task", data["task"])
                    self._whole = is_final(self.task)
                    return self._whole
                case _:  # a newer hub may say more
                    pass
        except (ValueError, KeyError, TypeError) as error:
            raise self._hub.no_hub(f"sent an event '{event.name[:40]}' that cannot be read") from error
        return False

    def _patience_s(self) -> float:
        waited = time.monotonic() - self._news
        return max(0.02, self._status.delay_s - waited) if waited < self._status.delay_s else TICK_S

    def _look(self) -> None:
        """Ask what the task waits for, where it is time to, and show it."""
        now = time.monotonic()
        if now - self._looked >= (LOOK_S if now - self._began < LONG_WAIT_S else LONG_LOOK_S):
            self._looked = now
            try:
                self._ask()
            except ClientError as error:
                self._show_unreachable(error)
                return
        self._show(reason(self.task, self._box, self._hub.now()))

    def _ask(self) -> None:
        self.task = self._hub.named("task", self._hub.get(self._path))
        if is_final(self.task):
            self._final_since = self._final_since or time.monotonic()
        else:
            self._box = self._hub.get(f"boxes/{segment(str(self.task['box_id']), 'box')}")

    def _show(self, why: Reason) -> None:
        if why.kind != "ended" and not (self._status.in_place and self._copy.is_amid_a_line):
            self._status.show(why)

    def _heal(self) -> None:
        self._broken_since = None
        self._failures = 0

    def _come_again(self) -> None:
        """Wait until the hub answers again; `Unreachable` where it does not for long."""
        while True:
            now = time.monotonic()
            self._broken_since = self._broken_since or now
            pause_s = RETRY_S[min(self._failures, len(RETRY_S) - 1)]
            self._failures += 1
            time.sleep(pause_s)
            try:
                self._ask()
            except ClientError as error:
                if now - self._broken_since > GIVE_UP_S:
                    raise
                self._show_unreachable(error)
            else:
                return

    def _show_unreachable(self, error: ClientError) -> None:
        if not is_passing(error):
            raise error
        self._show(Reason("unreachable", f"{error}; the task goes on, trying again"))


def kept_output(hub: Hub, path: str, stream: Stream, offset: int = 0) -> Kept:
    """A finished task's stream from `offset` on, or all of it where it is cut."""
    headers = {"Range": f"bytes={offset}-"} if offset else {}
    try:
        with hub.open(f"{path}/output", {"stream": stream}, headers) as response:
            data, cut = response.read(), response.headers.get("Operis-Truncated") == "true"
            return Kept(data if response.status == 206 or cut else data[offset:], cut)
    except Refused as refused:
        if refused.status != 416:
            raise
        return Kept(b"", cut=False)


def is_passing(error: ClientError) -> bool:
    """Whether the same call may succeed when the hub or the network is back."""
    match error:
        case Unreachable():
            return error.passing
        case Refused():
            return error.status in PASSING_STATUSES
        case _:
            return False
