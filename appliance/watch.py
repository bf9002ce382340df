"""Looks after running tasks: their deadlines, the size of their output, and who watches it live.

One timer serves all tasks, and none runs while no task does: a box that is idle uses no time.
"""

import asyncio
import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from appliance import spool
from appliance.live import LiveTask, boot_s
from cloudsync.messages import OutputChunk, OutputGap, Stream

# How late live output is at most, and how often spool files are looked at.
TICK_S: Final = 0.1
# A task that is over sooner is not looked at: most are.
YOUNG_S: Final = 0.25
CHUNK_BYTES: Final = 32 * 1024
STREAMS: Final[tuple[Stream, Stream]] = ("stdout", "stderr")

Offer = Callable[[OutputChunk | OutputGap], bool]


@dataclass(slots=True)
class Follower:
    """Someone who watches a task's output: how far each stream was sent, and where to."""

    offer: Offer
    offsets: dict[Stream, int]


@dataclass(slots=True)
class _Watched:
    task: LiveTask
    guards: dict[Stream, spool.SpoolGuard] = field(default_factory=dict)


class Watch:
    """Calls `on_deadline` for a task whose time is over, once a tick until the task is removed."""

    def __init__(self, spool_limit_bytes: int, on_deadline: Callable[[LiveTask], None]) -> None:
        self._limit_bytes = spool_limit_bytes
        self._on_deadline = on_deadline
        self._watched: dict[str, _Watched] = {}
        self._followers: dict[str, Follower] = {}
        self._timer: asyncio.TimerHandle | None = None

    def add(self, task: LiveTask) -> None:
        """The task's process has started."""
        self._watched[task.id] = _Watched(task)
        deadline = task.deadline_boot_s
        if self._timer is None or (deadline is not None and deadline - boot_s() < TICK_S):
            self._arm(TICK_S if deadline is None else min(TICK_S, deadline - boot_s()))

    def remove(self, task: LiveTask) -> None:
        """The task's process has ended: what a follower has not seen goes out now, before the outcome does."""
        watched = self._watched.pop(task.id, None)
        follower = self._followers.pop(task.id, None)
        if watched is not None and follower is not None:
            self._flush(watched, follower)

    def follow(self, task_id: str, offsets: dict[Stream, int], offer: Offer) -> None:
        """Send a task's output from these offsets on, now and until it ends."""
        follower = self._followers[task_id] = Follower(offer, offsets)
        watched = self._watched.get(task_id)
        if watched is not None:
            self._send(watched, follower)

    def unfollow(self, task_id: str) -> None:
        """Nobody watches it any more."""
        self._followers.pop(task_id, None)

    def unfollow_all(self) -> None:
        """The connection over which they watched is gone."""
        self._followers.clear()

    def close(self) -> None:
        """Stop looking."""
        self._watched.clear()
        self._followers.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, delay_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(max(0.001, delay_s), self._tick)

    def _tick(self) -> None:
        self._timer = None
        now = boot_s()
        delay_s = TICK_S
        for watched in list(self._watched.values()):
            task = watched.task
            deadline = task.deadline_boot_s
            if deadline is not None:
                if deadline <= now:
                    self._on_deadline(task)
                else:
                    delay_s = min(delay_s, deadline - now)
            if task.started_boot_s is not None and now - task.started_boot_s >= YOUNG_S:
                self._guard(watched)
            follower = self._followers.get(task.id)
            if follower is not None:
                self._send(watched, follower)
        if self._watched:
            self._arm(delay_s)

    def _guard(self, watched: _Watched) -> None:
        if not watched.guards:
            folder = watched.task.folder
            watched.guards = {name: spool.SpoolGuard(f"{folder}/{name}", self._limit_bytes) for name in STREAMS}
        for guard in watched.guards.values():
            guard.check()

    def _send(self, watched: _Watched, follower: Follower) -> bool:
        """Offer what is new; False where the connection takes no more now."""
        for name in STREAMS:
            guard = watched.guards.get(name)
            hole = (self._limit_bytes // 2, guard.punched_to) if guard is not None and guard.punched_to else None
            if not send_output(watched.task.id, watched.task.folder, name, follower, hole):
                return False
        return True

    def _flush(self, watched: _Watched, follower: Follower) -> None:
        if self._send(watched, follower):
            return
        for name in STREAMS:
            size = spool.size_bytes(f"{watched.task.folder}/{name}")
            seen = follower.offsets[name]
            if size > seen:
                follower.offer(OutputGap(task_id=watched.task.id, stream=name, from_offset=seen, to_offset=size))


def send_output(task_id: str, folder: Path, name: Stream, follower: Follower, hole: tuple[int, int] | None) -> bool:
    """Offer one stream's bytes from the follower's offset to the end of the file; False where it takes no more."""
    path = f"{folder}/{name}"
    size = spool.size_bytes(path)
    while (offset := follower.offsets[name]) < size:
        if hole is not None and hole[0] <= offset < hole[1]:
            gap = OutputGap(task_id=task_id, stream=name, from_offset=offset, to_offset=hole[1])
            if not follower.offer(gap):
                return False
            follower.offsets[name] = hole[1]
            continue
        data = spool.read_piece(path, offset, CHUNK_BYTES)
        if not data:
            return True
        text = base64.b64encode(data).decode()
        if not follower.offer(OutputChunk(task_id=task_id, stream=name, offset=offset, data_b64=text)):
            return False
        follower.offsets[name] = offset + len(data)
    return True
