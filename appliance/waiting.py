"""Tasks that are accepted and wait for a slot, oldest first, none held up by one before it that cannot start yet.

Tasks of one lane start in their order or not at all, so that only the first of each is looked at: what the hub made
may be held as a whole, browser tasks have slots of their own, and a profile serves one of them at a time.
"""

from collections import deque
from collections.abc import Callable, Iterator
from itertools import chain
from operator import itemgetter
from typing import NamedTuple

from appliance.live import LiveTask
from cloudsync.spec import BashExec
from cloudsync.task import Origin


class Lane(NamedTuple):
    """What decides whether a task may start."""

    is_hubs: bool
    is_browser: bool
    profile: str | None


def lane_of(task: LiveTask) -> Lane:
    """The lane that a task waits in."""
    is_hubs = task.origin is Origin.HUB
    if isinstance(task.spec, BashExec):
        return Lane(is_hubs, False, None)
    return Lane(is_hubs, True, task.spec.profile)


class Waiting:
    """The queue."""

    def __init__(self) -> None:
        self._lanes: dict[Lane, deque[tuple[int, LiveTask]]] = {}
        self._count = 0
        self._number = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[LiveTask]:
        """All of them, oldest first."""
        return (task for _, task in sorted(chain(*self._lanes.values()), key=itemgetter(0)))

    def append(self, task: LiveTask) -> None:
        """Put it at the end."""
        self._number += 1
        self._count += 1
        self._lanes.setdefault(lane_of(task), deque()).append((self._number, task))

    def remove(self, task: LiveTask) -> None:
        """Take it out; `ValueError` where it does not wait."""
        lane = lane_of(task)
        waiting = self._lanes.get(lane, deque())
        for number, each in waiting:
            if each is task:
                waiting.remove((number, each))
                self._took_from(lane)
                return
        raise ValueError(f"task {task.id} does not wait")

    def next(self, may_start: Callable[[Lane], bool]) -> LiveTask | None:
        """Take out the oldest task of those whose lane may start one."""
        lanes = [lane for lane in self._lanes if may_start(lane)]
        if not lanes:
            return None
        lane = min(lanes, key=lambda each: self._lanes[each][0][0])
        _, task = self._lanes[lane].popleft()
        self._took_from(lane)
        return task

    def clear(self) -> None:
        """Take all out."""
        self._lanes.clear()
        self._count = 0

    def _took_from(self, lane: Lane) -> None:
        self._count -= 1
        if not self._lanes[lane]:
            del self._lanes[lane]
