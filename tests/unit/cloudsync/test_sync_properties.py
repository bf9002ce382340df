"""Both ends of the sync against each other, through every fault that a link, a disk and a restart can make.

`OPERIS_SYNC_EXAMPLES=5000` runs that many random histories instead of the fixed quick ones.
"""

import inspect
import os
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, Phase, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from cloudsync import fence, log, session
from cloudsync.errors import ProtocolViolation
from cloudsync.fence import Standing
from tests.unit.cloudsync.simulation.box import Box
from tests.unit.cloudsync.simulation.disk import Journal, Row, fresh
from tests.unit.cloudsync.simulation.hub import Hub
from tests.unit.cloudsync.simulation.link import Link

LONG: Final = int(os.environ.get("OPERIS_SYNC_EXAMPLES", "0"))
EXAMPLES: Final = LONG or 500
STEPS: Final = 30
# Of the 256 choices a step has, those from here on are faults and new work.
FAULTS_FROM: Final = 208
# Enough for any history above to come to rest; one that needs more never does.
PATIENCE: Final = 20_000

places = st.integers(0, 7)


class Fleet(RuleBasedStateMachine):
    """One box with its copies, one hub, and what may happen to them."""

    def __init__(self) -> None:
        super().__init__()
        self.hub = Hub()
        self.boxes = [Box(self.hub, Journal(f"i{fresh()}"), "hardware-1")]
        self.images: list[Journal] = []
        self.backups: list[Row] = []
        self.replaced = 0
        self.copied = False

    # What goes right, and in its midst what goes wrong often.

    @rule(choices=st.binary(min_size=16, max_size=160))
    def proceed(self, choices: bytes) -> None:
        """Frames arrive, commits end, batches go out in some order; work comes in, links and processes fail."""
        for choice in choices:
            steps = self.steps()
            if choice < FAULTS_FROM and steps:
                steps[choice % len(steps)]()
            else:
                self.disturb(choice)

    def disturb(self, choice: int) -> None:
        """A choice of what comes from outside."""
        box = self.boxes[choice % len(self.boxes)]
        links = [end.link for end in self.hub.ends]
        links += [each.link for each in self.boxes if each.link is not None and each.link not in links]
        link = links[choice % len(links)] if links else Link(box.journal)
        match choice % 16:
            case 0 | 1 | 2:
                box.make_event()
            case 3 | 4 | 5:
                self.hub.submit_task()
            case 6 | 7:
                link.resend(link.to_hub)
            case 8 | 9:
                link.resend(link.to_box)
            case 10:
                link.lose(link.to_hub, choice)
            case 11:
                link.lose(link.to_box, choice)
            case 12:
                if box.live:
                    self.images.append(box.journal.copy())
            case 13:
                link.cut(choice % 3, choice % 4)
            case 14:
                box.crash(choice % 3)
            case _:
                self.hub.crash(choice % 3)

    @rule(place=places, count=st.integers(1, 8))
    def make_events(self, place: int, count: int) -> None:
        for _ in range(count):
            self.box(place).make_event()

    @rule(count=st.integers(1, 8))
    def submit_tasks(self, count: int) -> None:
        for _ in range(count):
            self.hub.submit_task()

    @rule()
    def release(self) -> None:
        self.hub.release()

    # What goes wrong seldom.

    # A restored hub has forgotten what told two copies of one box apart: no numbers can tell it again. So a history has
    # either copies or a restored hub.

    @precondition(lambda self: self.images and not self.hub.restores)
    @rule(place=places, image=places, offline=st.integers(0, 8))
    def roll_back(self, place: int, image: int, offline: int) -> None:
        self.copied = True
        box = self.box(place)
        box.crash(0)
        box.journal = self.images[-1 - image % len(self.images)].copy()
        box.start()
        box.work_offline(offline)

    @precondition(lambda self: len(self.boxes) < 3 and not self.hub.restores)
    @rule(place=places, same_hardware=st.booleans(), offline=st.integers(0, 8))
    def clone(self, place: int, same_hardware: bool, offline: int) -> None:
        self.copied = True
        original = self.box(place)
        hwid = original.hwid if same_hardware else f"hardware-{fresh()}"
        copy = Box(self.hub, original.journal.copy(), hwid)
        copy.work_offline(offline)
        self.boxes.append(copy)

    @precondition(lambda self: self.replaced < 3)
    @rule(place=places)
    def lose_journal(self, place: int) -> None:
        self.replaced += 1
        self.box(place).lose_journal()

    @precondition(lambda self: self.hub.row.settled)
    @rule()
    def back_up_hub(self) -> None:
        self.backups.append(self.hub.row.copy())

    @precondition(lambda self: self.backups and not self.copied)
    @rule(backup=places)
    def restore_hub(self, backup: int) -> None:
        self.hub.restore(self.backups[backup % len(self.backups)])

    # What must hold.

    @invariant()
    def at_most_one_session_is_live(self) -> None:
        row = self.hub.row
        writers = [
            end
            for end in self.hub.ends
            if end.session.state in {session.Hub.AWAITING_SETTLED, session.Hub.LIVE} and end.hello.session == row.fence
        ]
        assert len(writers) <= 1

    @invariant()
    def commands_are_applied_once_and_in_order(self) -> None:
        row = self.hub.row
        for box in self.boxes:
            if box.journal.incarnation == row.incarnation and box.journal.continues(row.witness):
                # A restored hub may hold what it never sent in this branch: it is sure only of what was acked.
                sure = row.log[: row.acked] if self.hub.restores else row.log
                pairs = zip(box.journal.commands, sure, strict=False)
                assert all(logged in {applied, None} for applied, logged in pairs)

    @invariant()
    def events_are_in_the_ledger_once(self) -> None:
        row = self.hub.row
        assert len(set(row.ledger)) == len(row.ledger)
        assert set(row.chronicle) <= set(row.ledger)

    @invariant()
    def nobody_is_shut_out_without_a_cause(self) -> None:
        assert self.copied or self.hub.restores or self.hub.row.standing is Standing.ACTIVE

    @rule(place=places)
    def faults_stop(self, place: int) -> None:
        self.come_to_rest(place)

    def teardown(self) -> None:
        # A history that has failed already is not to be hidden by what comes of it.
        if sys.exc_info()[0] is None:
            self.come_to_rest(0)

    def come_to_rest(self, place: int) -> None:
        """All copies but one are switched off, no fault happens any more: both logs must drain."""
        keeper = self.box(place)
        for box in self.boxes:
            if box is not keeper:
                box.crash(0)
        # What vanished from the middle of a connection is only missed by a later frame or its end.
        if keeper.link is not None and keeper.link.tampered:
            keeper.link.cut(0, 0)
        others = [box for box in self.boxes if box is not keeper]
        self.boxes = [keeper]
        for turn in range(PATIENCE):
            steps = [step for step in self.steps() if keeper.link or step != keeper.connect]
            if steps:
                steps[turn % len(steps)]()
            elif keeper.live:
                break
            else:
                if keeper.refused == "quarantined":
                    self.hub.release()
                keeper.connect()
        else:
            raise AssertionError("the logs never drain")
        self.boxes += others
        row, journal = self.hub.row, keeper.journal
        assert row.standing is Standing.ACTIVE
        assert row.incarnation == journal.incarnation
        assert row.waiting == []
        assert row.acked == len(row.log) == len(journal.commands)
        assert row.chronicle == journal.events
        assert keeper.sender.state is log.Sending.IDLE
        assert [end.sender.state for end in self.hub.ends if end.sender] == [log.Sending.IDLE]

    def box(self, place: int) -> Box:
        return self.boxes[place % len(self.boxes)]

    def steps(self) -> list[Callable[[], None]]:
        at_boxes = [step for box in self.boxes for step in box.steps()]
        return [*at_boxes, *self.hub.steps()]


def check(examples: int, *, random: bool) -> None:
    """Run the fleet through so many histories: the same ones each time, or other ones each time."""
    profile = settings(
        max_examples=examples,
        stateful_step_count=STEPS,
        derandomize=not random,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink] if random else [Phase.generate],
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )
    run_state_machine_as_test(Fleet, settings=profile)


@pytest.mark.timeout(0 if LONG else 120)
def test_nothing_is_lost_doubled_or_taken_over_whatever_fails() -> None:
    check(EXAMPLES, random=bool(LONG))


def test_a_hub_restored_to_a_branch_that_it_had_left_loses_no_task() -> None:
    fleet = Fleet()
    fleet.faults_stop(0)
    fleet.back_up_hub()
    fleet.submit_tasks(3)
    fleet.hub.writer.commit()
    fleet.hub.writer.commit()
    fleet.hub.writer.commit()
    fleet.hub.ends[0].number()
    fleet.hub.writer.commit()
    fleet.back_up_hub()
    fleet.restore_hub(0)
    fleet.submit_tasks(3)
    fleet.faults_stop(0)
    fleet.restore_hub(1)
    left = [task for task in fleet.hub.row.log if task is not None]
    assert len(left) == len(fleet.boxes[0].journal.commands) == 3
    fleet.faults_stop(0)
    fleet.commands_are_applied_once_and_in_order()
    assert set(left) <= set(fleet.boxes[0].journal.commands)


@dataclass(frozen=True)
class Bug:
    """A line of the source as a mistake would have left it."""

    name: str
    owner: Any
    function: str
    right: str
    wrong: str

    def plant(self, patch: pytest.MonkeyPatch) -> None:
        """Put the line with the mistake in the place of the right one."""
        function = inspect.unwrap(getattr(self.owner, self.function))
        source = textwrap.dedent(inspect.getsource(function))
        assert source.count(self.right) == 1, f"'{self.right}' must stand once in {self.function}"
        names: dict[str, Any] = {}
        exec(source.replace(self.right, self.wrong), function.__globals__, names)  # noqa: S102
        patch.setattr(self.owner, self.function, names[self.function])


BUGS: Final = (
    Bug(
        "acks what is offered, not what is committed",
        log.Receiver,
        "committed",
        "return self.have",
        "return self.offered",
    ),
    Bug("acks a repeated batch before its commit", log.Receiver, "offer", "reack=self.have", "reack=self.offered"),
    Bug(
        "resumes at what was sent",
        log.Sender,
        "attach",
        "self.acked = self.sent = peer_has",
        "self.acked, self.sent = peer_has, max(self.sent, peer_has)",
    ),
    Bug("counts an ack as sent anew", log.Sender, "ack", "self.acked = seq", "self.acked = self.sent = seq"),
    Bug("counts a batch as acked", log.Sender, "take", "self.sent = last", "self.sent = self.acked = last"),
    Bug("forgets the window", log.Sender, "range", "self.acked + self.window", "self.sent + self.window"),
    Bug("sends the last entry again", log.Sender, "range", "self.sent + 1", "max(self.sent, 1)"),
    Bug("accepts a gap of one", log.Receiver, "offer", "from_seq > self.offered + 1", "from_seq > self.offered + 2"),
    Bug(
        "skips one too few",
        log.Receiver,
        "offer",
        "skip = self.offered + 1 - from_seq",
        "skip = max(0, self.offered - from_seq)",
    ),
    Bug(
        "applies a batch whole if some is new", log.Receiver, "offer", "skip = self.offered + 1 - from_seq", "skip = 0"
    ),
    Bug("compares with committed, not offered", log.Receiver, "offer", "last <= self.offered", "last <= self.have"),
    Bug("takes the same session twice", fence, "judge", "hello.session <= known.fence", "hello.session < known.fence"),
    Bug("adopts below the fence", fence, "judge", "if hello.session > known.fence else", "if hello.session else"),
    Bug("judges a late hello", fence, "judge", "if hello.session <= known.fence:", "if False:"),
    Bug("overlooks an unsettled copy", fence, "judge", "hello.last < known.settled", "hello.last + 1 < known.settled"),
    Bug("overlooks missing commands", fence, "judge", "hello.command_seq < known.acked_command_seq", "False"),
    Bug(
        "compares with sent commands, not acked ones",
        fence,
        "judge",
        "hello.command_seq < known.acked_command_seq",
        "hello.command_seq < known.command_seq",
    ),
    Bug("blames the box for an outdated copy", fence, "judge", "copy_only=True", "copy_only=False"),
    Bug("adopts a full journal", fence, "judge", "if hello.last or hello.command_seq:", "if False:"),
    Bug("adopts an unreleased copy", fence, "judge", "shut and known.released_copy is None", "False"),
    Bug(
        "adopts another than the released copy",
        fence,
        "judge",
        "if shut and known.released_copy is not None",
        "if False",
    ),
    Bug("lets a quarantined box in", fence, "judge", "    if shut:\n", "    if False:\n"),
    Bug(
        "does not notice that the hub was restored",
        fence,
        "judge",
        "forgot_session or hello.command_seq > known.command_seq or hello.acked_event_seq > known.event_seq",
        "False",
    ),
    Bug(
        "takes unacked events for a restored hub",
        fence,
        "judge",
        "hello.acked_event_seq > known.event_seq",
        "hello.event_seq > known.event_seq",
    ),
    Bug("forgets the released copy", fence, "judge", "known.released_copy == copy_id(hello)", "False"),
)


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_planted_bug_is_caught(bug: Bug, monkeypatch: pytest.MonkeyPatch) -> None:
    bug.plant(monkeypatch)
    with pytest.raises((AssertionError, ProtocolViolation, IndexError)):
        check(4 * EXAMPLES, random=False)
