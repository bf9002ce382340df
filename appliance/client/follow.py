"""Following a task of the box to its end: its output as it comes, each byte once, also over a restart of the daemon."""

import json
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from appliance.client.box import PROGRAM, Box, task_path
from appliance.errors import BrokenOff, Declined, FolderUnusable, NotRunning
from cloudsync.task import TaskState
from cloudsync.terminal import times
from cloudsync.terminal.copy import Copy, Kept
from cloudsync.terminal.sink import STREAMS, Sink, Stream
from cloudsync.terminal.status_line import Reason, StatusLine
from cloudsync.terminal.stream import BadStream, EventParser, ServerEvent
from cloudsync.terminal.task import has_ended

READ_BYTES: Final = 65536
# How often the task is asked for while it says nothing.
LOOK_S: Final = 2.0
# RFC 9110, section 15.5.17: there is nothing from that byte on.
RANGE_OUTSIDE: Final = 416
# A daemon that is restarted is back by then; after it somebody has to look.
GIVE_UP_S: Final = 60.0
RETRY_S: Final = (0.2, 0.5, 1.0)


class Follower:
    """Follows one task into its sinks. `on_step` is told of each step of a browser task, `on_look` called often."""

    def __init__(
        self,
        box: Box,
        task: dict[str, Any],
        sinks: Mapping[Stream, Sink],
        status: StatusLine,
        *,
        on_step: Callable[[dict[str, Any]], None] = lambda _: None,
        on_look: Callable[[], None] = lambda: None,
    ) -> None:
        self.task = task
        self._box = box
        self._path = task_path(str(task["id"]))
        self._status = status
        self._on_step = on_step
        self._on_look = on_look
        self._copy = Copy(sinks, status, keeper="box", logs=f"'{PROGRAM} task {task['id']} --data {box.data}'")
        self._news = self._looked = time.monotonic()
        self._steps = 0

    def to_end(self) -> dict[str, Any]:
        """Follow until the task is over and its output is written; the task as it ended."""
        while not self._streamed():
            self._come_again()
        self._status.clear()
        for stream in STREAMS:
            self._copy.complete(stream, self._kept, whole=True)
        return self.task

    def _streamed(self) -> bool:
        """Follow over one connection; whether that came to the task's end."""
        parser = EventParser()
        try:
            with self._box.open(f"{self._path}/output", {"follow": 1, **self._copy.had}) as answer:
                while data := answer.read1(READ_BYTES):
                    for event in parser.feed(data):
                        if self._take(event):
                            return True
                    self._on_look()
                    self._look()
        except (BrokenOff, NotRunning):
            pass
        except BadStream as error:
            raise self._unreadable(str(error)) from error
        return False

    def _take(self, event: ServerEvent) -> bool:
        """Act on an event; whether it was the last."""
        try:
            data = json.loads(event.data)
            match event.name:
                case "output" | "gap":
                    if self._copy.take(event.name, data):
                        self._news = time.monotonic()
                case "step" if int(data["index"]) > self._steps:
                    self._steps = int(data["index"])
                    self._news = time.monotonic()
                    self._status.clear()
                    self._on_step(data)
                case "end":
                    self.task = dict(data["task"])
                    return True
                case _:  # a newer daemon may say more
                    pass
        except (ValueError, KeyError, TypeError) as error:
            raise self._unreadable(f"an event '{event.name[:40]}'") from error
        return False

    def _unreadable(self, what: str) -> FolderUnusable:
        hint = f"It may be of another version: restart it, and see '{PROGRAM} status --data {self._box.data}'."
        return FolderUnusable(f"the daemon of {self._box.data} sent {what} that cannot be read", hint)

    def _look(self) -> None:
        """Show what the task waits for, where it has been silent for long enough."""
        now = time.monotonic()
        if now - self._news < self._status.delay_s or (self._status.in_place and self._copy.is_amid_a_line):
            return
        if now - self._looked >= LOOK_S:
            self._looked = now
            self.task = self._box.get(self._path)
        self._status.show(reason(self.task, time.time()))

    def _come_again(self) -> None:
        """Wait until the daemon is back; `NotRunning` and `BrokenOff` where it does not come for long."""
        until = time.monotonic() + GIVE_UP_S
        failures = 0
        attempt = self.task.get("attempt") or 0
        while True:
            time.sleep(RETRY_S[min(failures, len(RETRY_S) - 1)])
            failures += 1
            self._on_look()
            try:
                self.task = self._box.get(self._path)
            except (NotRunning, BrokenOff) as error:
                if time.monotonic() > until:
                    raise
                self._status.show(Reason("away", f"{error}; waiting for it"))
                continue
            if attempt and (self.task.get("attempt") or 0) > attempt:
                self._copy.outdate()
                self._steps = 0
            return

    def _kept(self, stream: Stream, offset: int) -> Kept:
        """What the box keeps of an output from `offset` on, or all of it where it is cut."""
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        try:
            with self._box.open(f"{self._path}/output", {"stream": stream}, headers) as answer:
                data, cut = answer.read(), answer.header("Operis-Truncated") == "true"
                return Kept(data if answer.status == 206 or cut else data[offset:], cut)
        except Declined as declined:
            if declined.status != RANGE_OUTSIDE:
                raise
            return Kept(b"", cut=False)


def reason(task: Mapping[str, Any], now: float) -> Reason:
    """What a task of the box waits for."""
    match task.get("state"):
        case TaskState.RUNNING:
            started = times.parse(task.get("started_at"))
            return Reason("running", "running" + ("" if started is None else f" {times.coarse(now - started)}"))
        case TaskState.ACCEPTED:
            return Reason("accepted", "accepted: waits for its turn")
        case _ if has_ended(task):
            return Reason("ended", str(task.get("state")))
        case state:
            return Reason(str(state), str(state))
