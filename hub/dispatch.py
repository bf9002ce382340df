"""The hub's switchboard: hands tasks to boxes in session, and tells those who wait what the ledger now says.

The way of a task: `submit` commits it, numbered where its box is in session; its command goes out by the session;
the session's events come back through the store, and `tell` wakes the waiters with the rows as they are committed.
"""

import asyncio
import logging
import os
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol

from cloudsync.ids import ordered_id
from cloudsync.task import FINAL
from hub import artifacts, ledger, views
from hub.errors import HubError
from hub.ledger import Change, NewTask, Submitted
from hub.live import Live
from hub.store import Row, Store

log = logging.getLogger(__name__)

SWEEP_S: Final = 1.0
# A subscriber to events that is this far behind is cut off; it resumes from the ledger by its last id.
SUBSCRIBER_ENTRIES: Final = 1000


def now_ms() -> int:
    """The hub's clock, milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def boot_s() -> float:
    """Seconds since the machine started, its sleep included: no correction of the wall clock moves it."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def new_id() -> str:
    """A fresh id."""
    return ordered_id(now_ms(), os.urandom(8))


class BoxSession(Protocol):
    """What the switchboard needs of a live session."""

    fence: int
    heard_at_ms: int
    health: dict[str, Any] | None

    def has_room(self) -> bool:
        """Whether a new task may be numbered at once, with none waiting before it."""

    def number_later(self) -> None:
        """A task waits without a number."""

    def numbered(self, seq: int, row: Row) -> None:
        """A task was committed under `seq`."""

    def cancel(self, seq: int, task_id: str, by: str) -> None:
        """A cancel was committed under `seq`."""

    def follow(self, task_id: str, offsets: dict[Any, int]) -> None:
        """Someone watches a task."""

    def unfollow(self, task_id: str) -> None:
        """Nobody watches it any more."""

    def end(self, code: int, reason: str) -> None:
        """Close the session."""


class Subscriber:
    """One who reads the events of a customer (None: of all)."""

    def __init__(self, customer_id: str | None) -> None:
        self.customer_id = customer_id
        self.entries: deque[dict[str, Any]] = deque()
        self.wake = asyncio.Event()
        self.behind = False


class Dispatch:
    """Sessions by box, waiters by task, subscribers to events."""

    def __init__(self, store: Store, live: Live) -> None:
        self.store = store
        self.live = live
        self.sessions: dict[str, BoxSession] = {}
        self._waiters: dict[str, set[asyncio.Future[Row]]] = {}
        self._subscribers: set[Subscriber] = set()
        self.submitted = 0
        self.ended: dict[str, int] = {}

    async def submit(self, task: NewTask) -> Submitted:
        """Commit a task and send it where its box is in session."""
        session = self.sessions.get(task.box_id)
        fence = None if session is None else session.fence
        may_number = session is not None and session.has_room()
        future = self.store.write(lambda c: ledger.submit(c, task, fence, may_number=may_number))
        future.add_done_callback(lambda done: self._committed(task.box_id, fence, done))
        # A caller who goes away meanwhile must not keep what was committed from being sent.
        return await asyncio.shield(future)

    def _committed(self, box_id: str, fence: int | None, done: "asyncio.Future[Submitted]") -> None:
        if done.cancelled() or done.exception() is not None:
            return
        submitted = done.result()
        if submitted.existing:
            return
        self.submitted += 1
        session = self.sessions.get(box_id)
        if session is not None:
            if submitted.seq is not None and session.fence == fence:
                session.numbered(submitted.seq, submitted.row)
            elif submitted.seq is None:
                session.number_later()

    async def cancel(self, task_id: str, customer_id: str | None, by: str) -> Row:
        """Cancel a task; the row as it is then."""

        def committed(done: "asyncio.Future[tuple[Row, int | None, Change]]") -> None:
            if done.cancelled() or done.exception() is not None:
                return
            row, seq, change = done.result()
            self.tell(change)
            if seq is not None and (session := self.sessions.get(row["box_id"])) is not None:
                session.cancel(seq, task_id, by)

        future = self.store.write(lambda c: ledger.cancel(c, task_id, customer_id, by, now_ms(), new_id))
        future.add_done_callback(committed)
        return (await asyncio.shield(future))[0]

    def tell(self, change: Change) -> None:
        """Tell waiters, watchers and subscribers what was committed."""
        for row in change.rows:
            state = row["state"]
            if state not in FINAL:
                self._follow_started(row)
                continue
            self.ended[state] = self.ended.get(state, 0) + 1
            waiters = self._waiters.pop(row["id"], None)
            if waiters is not None:
                for waiter in waiters:
                    if not waiter.done():
                        waiter.set_result(row)
            if self.live.watched(row["id"]):
                self.live.attempted(row["id"], row["attempt"])
                self.live.end(row["id"])
        if self._subscribers:
            for subscriber in self._subscribers:
                self._publish(subscriber, change)

    def _follow_started(self, row: Row) -> None:
        """Ask the box for the output of a task that was watched before it ran."""
        if not self.live.watched(row["id"]):
            return
        self.live.attempted(row["id"], row["attempt"])
        if (session := self.sessions.get(row["box_id"])) is not None:
            session.follow(row["id"], self.live.offsets(row["id"]))

    def _publish(self, subscriber: Subscriber, change: Change) -> None:
        for entry in change.entries:
            if subscriber.customer_id is not None and entry["customer_id"] != subscriber.customer_id:
                continue
            if len(subscriber.entries) >= SUBSCRIBER_ENTRIES:
                subscriber.behind = True
            else:
                subscriber.entries.append(entry)
        subscriber.wake.set()

    def subscribe(self, customer_id: str | None) -> Subscriber:
        """Begin to receive events; `unsubscribe` when done."""
        subscriber = Subscriber(customer_id)
        self._subscribers.add(subscriber)
        return subscriber

    def unsubscribe(self, subscriber: Subscriber) -> None:
        """Stop receiving events."""
        self._subscribers.discard(subscriber)

    def expect(self, task_id: str) -> "asyncio.Future[Row]":
        """A future of the task's final row. Make it before the task can end; give it back with `forget`."""
        waiter: asyncio.Future[Row] = asyncio.get_running_loop().create_future()
        self._waiters.setdefault(task_id, set()).add(waiter)
        return waiter

    def forget(self, task_id: str, waiter: "asyncio.Future[Row]") -> None:
        """Nobody waits on this future any more."""
        waiters = self._waiters.get(task_id)
        if waiters is not None:
            waiters.discard(waiter)
            if not waiters:
                del self._waiters[task_id]

    async def wait(self, task_id: str, waiter: "asyncio.Future[Row]", timeout_s: float) -> Row | None:
        """The task's final row, or None after `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                return await waiter
        except TimeoutError:
            return None
        finally:
            self.forget(task_id, waiter)

    def task(self, task_id: str, customer_id: str | None) -> Row | None:
        """A task of this customer (None: any)."""
        rows = self.store.read_now("SELECT * FROM tasks WHERE id = ?", (task_id,))
        if not rows or (customer_id is not None and rows[0]["customer_id"] != customer_id):
            return None
        return rows[0]

    def heard_at(self, box_id: str) -> int | None:
        """When the box was last heard."""
        session = self.sessions.get(box_id)
        if session is not None:
            return session.heard_at_ms
        rows = self.store.read_now("SELECT last_seen_at FROM boxes WHERE id = ?", (box_id,))
        return rows[0]["last_seen_at"] if rows else None

    def view(self, row: Row) -> dict[str, Any]:
        """A task as the API shows it."""
        heard_at = None if row["state"] in FINAL else self.heard_at(row["box_id"])
        return views.task(row, heard_at, self.artifacts(row) if views.names_artifacts(row) else ())

    def artifacts(self, row: Row) -> list[Row]:
        """The rows of a task's artifacts, in their order."""
        return self.store.read_now(artifacts.OF_TASK, (row["id"], 0, -1))

    async def sweep(self, watch_rights: Callable[[], None]) -> None:
        """Expire overdue tasks and notice changed rights, for ever."""
        while True:
            await asyncio.sleep(SWEEP_S)
            watch_rights()
            due = self.store.read_now(
                "SELECT 1 FROM tasks WHERE delivery = 'unsent' AND state = 'queued' AND deliver_by <= ? LIMIT 1",
                (now_ms(),),
            )
            if not due:
                continue
            try:
                self.tell(await self.store.write(lambda c: ledger.expire(c, now_ms(), new_id)))
            except HubError as error:
                log.warning("overdue tasks not expired yet: %s", error)
