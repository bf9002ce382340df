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
from cloudsync.messages import OutputChunk, OutputGap, StepReport, Stream
from cloudsync.spec import BashExec

# How late live output is at most, and how often spool files are looked at.
TICK_S: Final = 0.1
# A task that is over sooner is not looked at: most are.
YOUNG_S: Final = 0.25
CHUNK_BYTES: Final = 32 * 1024
STREAMS: Final[tuple[Stream, Stream]] = ("stdout", "stderr")

# The follower behind whom all who watch at the hub stand; others are objects of their own.
HUB: Final = "hub"

Offer = Callable[[OutputChunk | OutputGap | StepReport], bool]


@dataclass(slots=True)
class Follower:
    """Someone who watches a task: how far each stream was sent, how many of its steps, and where to."""

    offer: Offer
    offsets: dict[Stream, int]
    steps: int = 0


@dataclass(slots=True)
class _Watched:
    task: LiveTask
    streams: tuple[Stream, ...]
    guards: dict[Stream, spool.SpoolGuard] = field(default_factory=dict)


class Watch:
    """Calls `on_deadline` for a task whose time is over, once a tick until the task is removed."""

    def __init__(self, spool_limit_bytes: int, on_deadline: Callable[[LiveTask], None]) -> None:
        self._limit_bytes = spool_limit_bytes
        self._on_deadline = on_deadline
        self._watched: dict[str, _Watched] = {}
        self._followers: dict[str, dict[object, Follower]] = {}
        self._steps: dict[str, list[StepReport]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def add(self, task: LiveTask) -> None:
        """The task's process has started."""
        # A browser task writes no output, and its user can put a link to anything under those names into its folder.
        self._watched[task.id] = _Watched(task, STREAMS if isinstance(task.spec, BashExec) else ())
        deadline = task.deadline_boot_s
        if self._timer is None or (deadline is not None and deadline - boot_s() < TICK_S):
            self._arm(TICK_S if deadline is None else min(TICK_S, deadline - boot_s()))

    def remove(self, task: LiveTask) -> None:
        """The task's process has ended: what a follower has not seen goes out now, before the outcome does."""
        watched = self._watched.pop(task.id, None)
        for follower in self._followers.pop(task.id, {}).values():
            self._send_steps(task.id, follower)
            if watched is not None:
                self._flush(watched, follower)
        self._steps.pop(task.id, None)

    def step(self, report: StepReport) -> None:
        """A step of a running task has ended: whoever watches hears of it now, whoever comes later then."""
        self._steps.setdefault(report.task_id, []).append(report)
        for follower in self._followers.get(report.task_id, {}).values():
            self._send_steps(report.task_id, follower)

    def follow(self, task_id: str, offsets: dict[Stream, int], offer: Offer, who: object = HUB) -> None:
        """Send a task's steps, and its output from these offsets on, now and until it ends."""
        follower = self._followers.setdefault(task_id, {})[who] = Follower(offer, offsets)
        self._send_steps(task_id, follower)
        watched = self._watched.get(task_id)
        if watched is not None:
            self._send(watched, follower)

    def unfollow(self, task_id: str, who: object = HUB) -> None:
        """Nobody there watches it any more."""
        followers = self._followers.get(task_id, {})
        followers.pop(who, None)
        if not followers:
            self._followers.pop(task_id, None)

    def unfollow_all(self, who: object = HUB) -> None:
        """The connection over which they watched is gone."""
        for task_id in list(self._followers):
            self.unfollow(task_id, who)

    def close(self) -> None:
        """Stop looking."""
        self._watched.clear()
        self._followers.clear()
        self._steps.clear()
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
            for follower in self._followers.get(task.id, {}).values():
                self._send_steps(task.id, follower)
                self._send(watched, follower)
        if self._watched:
            self._arm(delay_s)

    def _guard(self, watched: _Watched) -> None:
        if not watched.guards:
            folder = watched.task.folder
            watched.guards = {name: spool.SpoolGuard(f"{folder}/{name}", self._limit_bytes) for name in watched.streams}
        for guard in watched.guards.values():
            guard.check()

    def _send(self, watched: _Watched, follower: Follower) -> bool:
        """Offer what is new; False where the connection takes no more now."""
        for name in watched.streams:
            guard = watched.guards.get(name)
            hole = (self._limit_bytes // 2, guard.punched_to) if guard is not None and guard.punched_to else None
            if not send_output(watched.task.id, watched.task.folder, name, follower, hole):
                return False
        return True

    def _send_steps(self, task_id: str, follower: Follower) -> None:
        """Offer the steps that are new, as far as they are taken."""
        for report in self._steps.get(task_id, ())[follower.steps :]:
            if not follower.offer(report):
                return
            follower.steps += 1

    def _flush(self, watched: _Watched, follower: Follower) -> None:
        if self._send(watched, follower):
            return
        for name in watched.streams:
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
