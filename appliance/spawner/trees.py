"""The processes of all attempts: whose each of them is, and ending them.

Each attempt is a process group of its own and carries a **stamp**: a hard RLIMIT_LOCKS that no other attempt has. No
kernel since 2.4.25 looks at that limit, but it passes through fork, exec, setsid, a changed process group and
`env -i`. The spawner is the child subreaper, so the top of whatever outlives its parent becomes its child; the stamp
then says whose it is, else the variable OPERIS_ATTEMPT, else its age.
A session of its own would be a scheduling group of its own too (autogroup), and start 5 ms later on a busy machine.
Cgroups would say the same, but a move into one waits for an RCU grace period: 5 to 15 ms for a task after a pause.
"""

from __future__ import annotations

import os
import signal
import time

from appliance.spawner.attempt import Attempt, Phase
from appliance.spawner.kernel import (
    READ_BYTES,
    SWEEPS,
    Stat,
    descendants,
    open_children,
    read_marker,
    read_stamp,
    read_stat,
    scan,
    send_signal,
)

# No kernel hands out a whole cycle of process ids (32,768 at least) in this time: until then a larger id is younger.
CYCLE_S = 0.25


class Trees:
    """The attempts of which something may live, and the processes that belong to them."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.group = os.getpgrp()
        self.attempts: dict[str, Attempt] = {}
        self.leaders: dict[int, Attempt] = {}
        """Those whose leader has not been reaped, by its id."""
        self.stamps: dict[int, Attempt] = {}
        self.bystanders: set[int] = set()
        """Our children that are of no attempt: they wait for one, or were let go and are about to end."""
        self.children_fd = open_children(self.pid)

    def add(self, attempt: Attempt) -> None:
        self.attempts[attempt.key] = self.leaders[attempt.pid] = attempt
        if attempt.stamp:
            self.stamps[attempt.stamp] = attempt

    def remove(self, attempt: Attempt) -> None:
        """Nothing of it lives any more."""
        del self.attempts[attempt.key]
        self.stamps.pop(attempt.stamp, None)

    def has_strays(self) -> bool:
        """Whether we have a child that neither leads an attempt nor waits for one.

        All that outlives its parent becomes our child: without strays nothing lives of a tree whose leader ended.
        None of our children leaves the list before it is reaped, which is not done meanwhile (proc(5) warns of that).
        """
        if self.children_fd < 0:
            return True
        known = self.known()
        children = os.pread(self.children_fd, READ_BYTES, 0)
        return len(children) == READ_BYTES or any(int(pid) not in known for pid in children.split())

    def known(self) -> set[int]:
        """Our children that are no stray."""
        return self.bystanders.union(self.leaders)

    def search(self, attempts: list[Attempt]) -> dict[int, Stat]:
        """All processes that may belong to one of `attempts`, but leaders.

        Cheap just after short tasks: nothing of theirs can be older than their leaders, so only the few ids given
        since are looked at.
        """
        oldest = min(attempts, key=lambda attempt: attempt.born_s)
        young = time.monotonic() - oldest.born_s < CYCLE_S
        return scan(oldest.since_pid if young else None, self.known())

    def survived(self, ended: list[Attempt]) -> set[str]:
        """The keys of those of `ended`, whose leaders are gone, of which something lives. One search serves all."""
        if not ended:
            return set()
        found = self.search(ended)
        owners = [self.owner(pid, stat) for pid, stat in found.items() if stat.parent == self.pid]
        return {owner.key for owner in owners if owner is not None}

    def tree(self, attempt: Attempt) -> dict[int, Stat]:
        """The living processes of an attempt, zombies included."""
        found = self.search([attempt])
        tops = [pid for pid, stat in found.items() if stat.parent == self.pid and self.owner(pid, stat) is attempt]
        if attempt.exit is None and (leader := read_stat(attempt.pid)):
            found[attempt.pid] = leader
            tops.append(attempt.pid)
        return {pid: found[pid] for pid in descendants(found, tops)}

    def owner(self, pid: int, stat: Stat) -> Attempt | None:
        """Whose a child of ours is that leads no attempt."""
        if attempt := self.stamps.get(read_stamp(pid)):
            return attempt
        if attempt := self.attempts.get(read_marker(pid) or ""):
            return attempt
        # Without both marks only its age is left: it is younger than its leader. Where several are older, it is
        # ended with the last of them that runs.
        for each in self.leaders.values():
            each.process.identify()
        born = (stat.start_time, pid)  # the ids tell apart what began in one tick, 10 ms
        older = [each for each in self.attempts.values() if (each.process.start_time, each.pid) < born]
        if len(older) == 1 or (older and all(each.exit is not None for each in older)):
            return older[-1]
        return None

    def end(self, attempt: Attempt, grace_s: float) -> None:
        """SIGTERM to the whole tree now, SIGKILL after `grace_s`; a later, shorter grace wins."""
        if attempt.phase is Phase.KILLING:
            return
        if grace_s <= 0:
            self.kill(attempt)
            return
        wake_at = time.monotonic() + grace_s
        attempt.wake_at = wake_at if attempt.phase is Phase.RUNNING else min(wake_at, attempt.wake_at)
        attempt.phase = Phase.TERMINATING
        for pid in self.tree(attempt):
            send_signal(os.kill, pid, signal.SIGTERM)
            send_signal(os.kill, pid, signal.SIGCONT)  # a stopped process acts on SIGTERM only when it goes on

    def kill(self, attempt: Attempt) -> None:
        """SIGKILL to the whole tree, and again to what it forked meanwhile."""
        if attempt.phase is not Phase.KILLING:
            attempt.phase, attempt.killed_s, attempt.pause_s = Phase.KILLING, time.monotonic(), 0.002
        killed: set[int] = set()
        for _ in range(SWEEPS):
            tree = self.tree(attempt)
            if not tree.keys() - killed:
                break
            # A whole group is killed at one blow, even one that forks; but never ours or another attempt's, which a
            # process of this one may have joined.
            others = {each.pid for each in self.attempts.values() if each is not attempt}
            for group in {stat.group for stat in tree.values()} - others - {self.group}:
                send_signal(os.killpg, group, signal.SIGKILL)
            for pid in tree:
                send_signal(os.kill, pid, signal.SIGKILL)
            killed |= tree.keys()
        attempt.wake_at = time.monotonic() + attempt.pause_s
        attempt.pause_s = min(1.0, attempt.pause_s * 2)
