"""A TCP connection: it delivers a prefix of what was written, also after the other end is gone."""

import json
from collections import deque

from cloudsync.errors import ProtocolViolation
from tests.unit.cloudsync.simulation.disk import Journal


class Link:
    """One connection: frames on their way, and which end still listens. `journal` is the copy that opened it."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.to_hub: deque[str] = deque()
        self.to_box: deque[str] = deque()
        self.box_open = True
        self.hub_open = True
        self.is_cut = False
        # A frame was lost in the middle, which no TCP does: only then may an end call the other a violator.
        self.tampered = False

    def from_box(self, frame: str) -> None:
        """The box writes."""
        if self._carries:
            self.to_hub.append(frame)

    def from_hub(self, frame: str) -> None:
        """The hub writes."""
        if self._carries:
            self.to_box.append(frame)

    def cut(self, up: int, down: int) -> None:
        """The connection breaks: only the oldest `up` and `down` frames still arrive, then each end sees it."""
        self.is_cut = True
        for queue, kept in ((self.to_hub, up), (self.to_box, down)):
            while len(queue) > kept:
                queue.pop()

    def resend(self, frames: deque[str]) -> None:
        """The newest frames of a log come again, merged into one: a late copy, of which some may be new."""
        batches = [frame for frame in frames if '"entries"' in frame][-2:]
        if batches:
            first = json.loads(batches[0])
            for later in map(json.loads, batches[1:]):
                if later["from_seq"] == first["from_seq"] + len(first["entries"]):
                    first["entries"] += later["entries"]
            frames.insert(len(frames) - 1, json.dumps(first))
            frames.append(batches[0])

    def lose(self, frames: deque[str], nth: int) -> None:
        """One frame of a log vanishes from the middle."""
        batches = [place for place, frame in enumerate(frames) if '"entries"' in frame or '"ack"' in frame]
        if batches:
            del frames[batches[nth % len(batches)]]
            self.tampered = True

    @property
    def _carries(self) -> bool:
        return self.box_open and self.hub_open and not self.is_cut

    def violated(self, violation: ProtocolViolation) -> None:
        """An end blames the other."""
        assert self.tampered, f"an end that did nothing wrong was blamed: {violation}"
