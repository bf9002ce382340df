"""A box's daemon, cut down to what syncs."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import assert_never

from cloudsync import identity, log, messages, session
from cloudsync.errors import ProtocolViolation
from cloudsync.messages import FromHub
from cloudsync.task import TaskState
from tests.unit.cloudsync.simulation.disk import Journal, Writer, fresh
from tests.unit.cloudsync.simulation.hub import BATCH, KEY, WINDOW, Hub
from tests.unit.cloudsync.simulation.link import Link


class Box:
    """A box's daemon and its disk. `refused` is what the hub last said instead of welcome."""

    def __init__(self, hub: Hub, journal: Journal, hwid: str) -> None:
        self.hub = hub
        self.journal = journal
        self.hwid = hwid
        self.start()

    def start(self) -> None:
        """The daemon starts: all it knows is on its disk."""
        self.writer = Writer()
        self.sender = log.Sender(head=len(self.journal.events), window=WINDOW)
        self.link: Link | None = None
        self.above = 0
        self.refused = ""

    def crash(self, kept: int) -> None:
        """SIGKILL, or the power is cut; the next daemon starts at once."""
        self.writer.crash(kept)
        self.hang_up()
        self.start()

    def connect(self) -> None:
        """Open a connection; the hub's challenge is on its way."""
        self.link = Link(self.journal)
        self.session = session.box_session()
        self.owed: int | None = None
        self.refused = ""
        self.hub.accept(self.link)

    def hang_up(self) -> None:
        """This end of the connection is closed."""
        if self.link is not None:
            self.link.box_open = False
            self.link = None
            self.session.done(session.CUT)
            self.sender.detach()

    @property
    def live(self) -> bool:
        """Whether both logs flow."""
        return self.link is not None and self.session.state is session.Box.LIVE

    def make_event(self) -> None:
        """Something happened on the box."""
        self.writer.submit(self._append_event, self._appended)

    def work_offline(self, count: int) -> None:
        """So many things happen and are durable before the box connects."""
        for _ in range(count):
            self.make_event()
            self.writer.commit()

    def _append_event(self) -> int:
        event = messages.TaskEvent(id=f"e{fresh()}", task_id="t", state=TaskState.RUNNING, at_ms=0)
        self.journal.events.append(event.id)
        self.journal.mark("event", len(self.journal.events))
        return len(self.journal.events)

    def _appended(self, head: int) -> None:
        self.sender.append(head)

    def send_events(self, limit: int = BATCH) -> None:
        """Send one batch, with an ack that is owed."""
        span = self.sender.range()
        assert span is not None
        assert self.link is not None
        first, last = span[0], min(span[1], span[0] + limit - 1)
        self.sender.take(last)
        assert self.sender.sent - self.sender.acked <= WINDOW, "the window was exceeded"
        entries = [
            messages.encode_entry(messages.TaskEvent(id=each, task_id="t", state=TaskState.RUNNING, at_ms=0))
            for each in self.journal.events[first - 1 : last]
        ]
        self.link.from_box(messages.encode_events(first, entries, self.owed))
        self.owed = None

    def send_ack(self) -> None:
        """Send an ack by itself."""
        assert self.link is not None
        assert self.owed is not None
        self.link.from_box(messages.encode(messages.Ack(seq=self.owed)))
        self.owed = None

    def deliver(self) -> None:
        """The next frame arrives, or the end of the connection."""
        link = self.link
        assert link is not None
        if not link.to_box:
            self.hang_up()
            return
        try:
            message = messages.decode_from_hub(link.to_box.popleft())
            self.session.receive(message)
            self._handle(message)
        except ProtocolViolation as violation:
            self.hang_up()
            link.violated(violation)

    def _handle(self, message: FromHub) -> None:
        match message:
            case messages.Challenge():
                self._commit_hello(message)
            case messages.Welcome():
                self._welcomed(message)
            case messages.Stale():
                self.above = message.fence
                self.hang_up()
            case messages.Denied():
                self.hang_up()
                self.refused = message.code
                if message.code == "begin_anew":
                    self.writer.submit(self._begin_anew, self._begun)
            case messages.Commands():
                self._receive_commands(message)
            case messages.Ack():
                if self.sender.ack(message.seq):
                    assert self.hub.ledgered(self.link, message.seq), "an event was acked that is in no ledger"
                    self.writer.submit(lambda: self._commit_acked(message.seq), lambda _: None)
            case messages.Bye() | messages.Desired() | messages.Follow() | messages.Unfollow() | messages.Pulse():
                raise AssertionError(f"nobody sends {message.type} here")
            case _:
                assert_never(message)

    def _commit_hello(self, challenge: messages.Challenge) -> None:
        link = self.link
        assert link is not None

        def commit() -> messages.Hello:
            link.journal = journal = self.journal
            journal.session = max(journal.session, self.above) + 1
            return messages.Hello(
                box_id="box-1",
                incarnation=journal.incarnation,
                session=journal.session,
                last=journal.last,
                command_seq=len(journal.commands),
                event_seq=len(journal.events),
                acked_event_seq=journal.acked,
                hwid=self.hwid,
            )

        def say(hello: messages.Hello) -> None:
            if self.link is link:
                self.session.done(session.COMMITTED)
                signed = identity.sign(hello, KEY, nonce=challenge.nonce, hub=challenge.hub)
                link.from_box(messages.encode(signed))

        self.writer.submit(commit, say)

    def _welcomed(self, welcome: messages.Welcome) -> None:
        link, journal, seq = self.link, self.journal, welcome.event_seq
        assert link is not None
        own = journal.events[seq - 1] if 0 < seq <= len(journal.events) else None
        if own != welcome.event_id:
            self.session.done(session.ROLLED_BACK)
            link.from_box(messages.encode(messages.RolledBack(event_seq=seq, event_id=own)))
            self.hang_up()
            return
        self.receiver = log.Receiver(have=len(journal.commands))

        def settle(_: None) -> None:
            if self.link is link:
                self.session.done(session.COMMITTED)
                self.sender.attach(seq)
                link.from_box(messages.encode(messages.Settled(session=welcome.session)))

        self.writer.submit(lambda: self._commit_last(welcome.session), settle)

    def _commit_last(self, number: int) -> None:
        self.journal.last = number
        self.journal.mark("last", number)

    def _commit_acked(self, seq: int) -> None:
        self.journal.acked = max(self.journal.acked, seq)

    def _receive_commands(self, batch: messages.Commands) -> None:
        link, receiver = self.link, self.receiver
        offer = receiver.offer(batch.from_seq, len(batch.entries))
        if offer.apply_from is None:
            self.owed = offer.reack
            return
        entries = [
            messages.encode_entry(messages.COMMAND.validate_python(each)) for each in batch.entries[offer.skip :]
        ]

        def applied(seq: int) -> None:
            ack = receiver.committed(seq)
            if self.link is link:
                self.owed = ack

        self.writer.submit(lambda: self._apply(entries), applied)

    def _apply(self, entries: list[str]) -> int:
        for entry in entries:
            self.journal.commands.append(entry)
            self.journal.mark("command", len(self.journal.commands))
        return len(self.journal.commands)

    def _begin_anew(self) -> None:
        """A new incarnation: commands are forgotten, events it still holds are numbered anew."""
        held = self.journal.events[max(0, self.journal.acked - 2) :]
        self.journal = Journal(f"i{fresh()}", session=self.journal.session, events=held)
        for seq in range(1, len(held) + 1):
            self.journal.mark("event", seq)

    def _begun(self, _: None) -> None:
        self.sender = log.Sender(head=len(self.journal.events), window=WINDOW)

    def lose_journal(self) -> None:
        """The disk was replaced: the key is all that is left."""
        self.crash(0)
        self.journal = Journal(f"i{fresh()}")
        self.start()

    def steps(self) -> Iterator[Callable[[], None]]:
        """What can happen next at the box."""
        if self.writer:
            yield self.writer.commit
        if self.link is None:
            yield self.connect
            return
        if self.link.to_box or self.link.is_cut or not self.link.hub_open:
            yield self.deliver
        if self.live and self.sender.range() is not None:
            yield self.send_events
            yield partial(self.send_events, 1)
        if self.live and self.owed is not None:
            yield self.send_ack
