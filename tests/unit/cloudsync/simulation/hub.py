"""The hub's process for one box and its copies, cut down to what syncs."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Final, assert_never

from cloudsync import fence, identity, log, messages, session
from cloudsync.errors import ProtocolViolation
from cloudsync.fence import Ruling, Standing
from cloudsync.messages import FromBox, Message
from tests.unit.cloudsync.simulation.disk import Row, Writer, fresh
from tests.unit.cloudsync.simulation.link import Link

# Small, so that a few frames fill the window and a batch is often cut.
WINDOW: Final = 6
BATCH: Final = 3
NAME: Final = "hub.test"
KEY: Final = bytes(range(32))
PUBLIC: Final = identity.public_key(KEY)


class HubEnd:
    """The hub's end of one connection."""

    def __init__(self, hub: "Hub", link: Link) -> None:
        self.hub = hub
        self.link = link
        self.session = session.hub_session()
        self.nonce = f"n{fresh()}"
        self.sender: log.Sender | None = None
        link.from_hub(messages.encode(messages.Challenge(nonce=self.nonce, hub=NAME)))

    @property
    def live(self) -> bool:
        """Whether both logs flow."""
        return self.session.state is session.Hub.LIVE

    def close(self) -> None:
        """This end of the connection is closed."""
        if self.link.hub_open:
            self.link.hub_open = False
            self.session.done(session.CUT)
            self.hub.ends.remove(self)

    def say(self, message: Message) -> None:
        """Send a message."""
        self.link.from_hub(messages.encode(message))

    def deliver(self) -> None:
        """The next frame arrives, or the end of the connection."""
        if not self.link.to_hub:
            self.close()
            return
        try:
            message = messages.decode_from_box(self.link.to_hub.popleft())
            self.session.receive(message)
            self._handle(message)
        except ProtocolViolation as violation:
            self.close()
            self.link.violated(violation)

    def _handle(self, message: FromBox) -> None:
        match message:
            case messages.Hello():
                assert identity.verify(message, PUBLIC, nonce=self.nonce, hub=NAME), "a good signature was refused"
                self.hello = message
                self.hub.writer.submit(lambda: self._judge(message), self._judged)
            case messages.Settled():
                self.hub.writer.submit(self._settle, self._settled)
            case messages.RolledBack():
                self.hub.writer.submit(self._quarantine, lambda _: self.hub.close_others(None))
            case messages.Events():
                self._receive_events(message)
            case messages.Ack():
                self._acked(message.seq)
            case messages.OutputChunk() | messages.OutputGap() | messages.StepReport() | messages.Pulse():
                raise AssertionError(f"nobody sends {message.type} here")
            case _:
                assert_never(message)

    def _judge(self, hello: messages.Hello) -> fence.Verdict:
        row, journal = self.hub.row, self.link.journal
        verdict = fence.judge(row.known(), hello)
        row_knows_it = hello.incarnation == row.incarnation
        match verdict.ruling:
            case Ruling.QUARANTINE if verdict.copy_only:
                assert hello.incarnation in row.closed
            case Ruling.QUARANTINE:
                assert hello.incarnation not in row.closed, "an outdated copy shuts the box out"
                untouched = row.standing is Standing.ACTIVE and row_knows_it
                assert not (untouched and journal.continues(row.witness)), f"the box itself is shut out: {verdict.why}"
                row.standing = Standing.QUARANTINED
            case Ruling.ADOPT:
                assert hello.session > row.fence, "two connections hold one session"
                assert not hello.command_seq, "a journal that holds commands was taken for an empty one"
                assert row.standing is Standing.ACTIVE or row.released, "nobody released it"
                released_here = row.released is None or row.released.endswith(f".{hello.hwid[:12]}")
                assert row.standing is Standing.ACTIVE or released_here, "another copy was released"
                closed = row.closed if row.incarnation is None else row.closed | {row.incarnation}
                self.hub.row = Row(incarnation=hello.incarnation, closed=closed, waiting=row.waiting, ledger=row.ledger)
                self.hub.row.fence = hello.session
            case Ruling.CONTINUE | Ruling.RESTORED:
                assert hello.session > row.fence, "two connections hold one session"
                assert row.standing is Standing.ACTIVE
                assert row_knows_it
                if verdict.ruling is Ruling.RESTORED:
                    assert self.hub.restores, "a hub that was never restored believes that it was"
                row.fence = hello.session
            case Ruling.BEGIN_ANEW | Ruling.STALE | Ruling.REVOKED:
                pass
            case _:
                assert_never(verdict.ruling)
        if verdict.ruling in {Ruling.QUARANTINE, Ruling.BEGIN_ANEW}:
            self.hub.presented = fence.copy_id(hello)
        self.restored = verdict.ruling is Ruling.RESTORED
        return verdict

    def _judged(self, verdict: fence.Verdict) -> None:
        welcome = verdict.ruling in {Ruling.ADOPT, Ruling.CONTINUE, Ruling.RESTORED}
        if welcome or (verdict.ruling is Ruling.QUARANTINE and not verdict.copy_only):
            # Whoever held the session has lost it, also where the connection that took it is gone already.
            self.hub.close_others(self)
        if not self.link.hub_open:
            return
        match verdict.ruling:
            case Ruling.ADOPT | Ruling.CONTINUE | Ruling.RESTORED:
                self.session.done(session.WELCOMED)
                chronicle = self.hub.row.chronicle
                self.receiver = log.Receiver(have=len(chronicle))
                newest = chronicle[-1] if chronicle else None
                self.say(messages.Welcome(session=self.hello.session, event_seq=len(chronicle), event_id=newest))
                return
            case Ruling.STALE:
                self.say(messages.Stale(fence=self.hub.row.fence))
            case Ruling.QUARANTINE:
                self.say(messages.Denied(code="quarantined", message=verdict.why))
            case Ruling.BEGIN_ANEW:
                self.say(messages.Denied(code="begin_anew", message=verdict.why))
            case Ruling.REVOKED:
                self.say(messages.Denied(code="revoked", message=verdict.why))
            case _:
                assert_never(verdict.ruling)
        self.session.done(session.DENIED)
        self.close()

    @property
    def _holds_it(self) -> bool:
        row = self.hub.row
        return row.fence == self.hello.session and row.standing is Standing.ACTIVE

    def _settle(self) -> bool:
        if not self._holds_it:
            return False
        row, journal, hello = self.hub.row, self.link.journal, self.hello
        assert journal.continues(row.witness), "a clone or an older copy got the session"
        row.settled = hello.session
        if self.restored:
            # Which commands the box holds above the newest acked one is forgotten: they are sent once more above its
            # numbers, and it ignores those that it has.
            unacked = [each for each in row.log[row.acked :] if each is not None]
            row.log[row.acked :] = [*[None] * (hello.command_seq - row.acked), *unacked]
        row.acked = max(row.acked, hello.command_seq)
        row.saw(journal, "last", hello.session)
        row.saw(journal, "command", hello.command_seq)
        return True

    def _settled(self, held: bool) -> None:
        if not held:
            self.close()
        elif self.live:
            self.sender = log.Sender(head=len(self.hub.row.log), window=WINDOW)
            self.sender.attach(self.hello.command_seq)

    def _quarantine(self) -> None:
        if self._holds_it:
            self.hub.row.standing = Standing.QUARANTINED
            self.hub.presented = fence.copy_id(self.hello)

    def _receive_events(self, batch: messages.Events) -> None:
        if batch.ack is not None:
            self._acked(batch.ack)
        offer = self.receiver.offer(batch.from_seq, len(batch.entries))
        if offer.apply_from is None:
            assert offer.reack is not None
            self.say(messages.Ack(seq=offer.reack))
            return
        first = offer.apply_from
        events = [messages.EVENT.validate_python(each) for each in batch.entries[offer.skip :]]

        def ledgered(seq: int | None) -> None:
            if seq is None:
                self.close()
            elif self.link.hub_open:
                self.say(messages.Ack(seq=self.receiver.committed(seq)))

        self.hub.writer.submit(lambda: self._ledger(first, [event.id for event in events]), ledgered)

    def _ledger(self, first: int, ids: list[str]) -> int | None:
        row = self.hub.row
        if not (self._holds_it and len(row.chronicle) == first - 1):
            return None
        row.chronicle += ids
        row.ledger += [each for each in ids if each not in row.ledger]
        seq = len(row.chronicle)
        assert row.chronicle == self.link.journal.events[:seq], "the ledger differs from the box's journal"
        row.saw(self.link.journal, "event", seq)
        return seq

    def _acked(self, seq: int) -> None:
        if self.sender is None:
            raise ProtocolViolation("an ack of nothing")
        assert seq <= len(self.link.journal.commands), "a command was acked that is in no journal"
        if self.sender.ack(seq):
            self.hub.writer.submit(lambda: self._commit_acked(seq), lambda held: None if held else self.close())

    def _commit_acked(self, seq: int) -> bool:
        if not self._holds_it:
            return False
        self.hub.row.acked = max(self.hub.row.acked, seq)
        self.hub.row.saw(self.link.journal, "command", seq)
        return True

    def number(self) -> None:
        """Give the waiting commands their seqs."""
        room = WINDOW + 2
        self.hub.writer.submit(lambda: self._number(room), self._numbered)

    def _number(self, room: int) -> int | None:
        if not self._holds_it:
            return None
        row = self.hub.row
        row.log += row.waiting[:room]
        del row.waiting[:room]
        return len(row.log)

    def _numbered(self, head: int | None) -> None:
        if head is None:
            self.close()
        elif self.sender is not None and self.live:
            self.sender.append(head)

    def send_commands(self, limit: int = BATCH) -> None:
        """Send one batch."""
        assert self.sender is not None
        span = self.sender.range()
        assert span is not None
        first, last = span[0], min(span[1], span[0] + limit - 1)
        if not self._holds_it:
            self.close()
            return
        entries = [each for each in self.hub.row.log[first - 1 : last] if each is not None]
        assert len(entries) == last - first + 1, "the hub must send a command that it does not have"
        self.sender.take(last)
        assert self.sender.sent - self.sender.acked <= WINDOW, "the window was exceeded"
        self.link.from_hub(messages.encode_commands(first, entries))

    def steps(self) -> Iterator[Callable[[], None]]:
        """What can happen next at this end."""
        if self.link.to_hub or self.link.is_cut or not self.link.box_open:
            yield self.deliver
        if self.live and self.sender is not None:
            if self.hub.row.waiting:
                yield self.number
            if self.sender.range() is not None:
                yield self.send_commands
                yield partial(self.send_commands, 1)


class Hub:
    """The hub's process and its disk, for one box and its copies."""

    def __init__(self) -> None:
        self.row = Row()
        self.restores = 0
        # What the operator sees: the last copy that was turned away.
        self.presented: str | None = None
        self.start()

    def start(self) -> None:
        """The process starts: all it knows is on its disk."""
        self.writer = Writer()
        self.ends: list[HubEnd] = []

    def crash(self, kept: int) -> None:
        """SIGKILL, or the power is cut; the next process starts at once."""
        self.writer.crash(kept)
        self.close_others(None)
        self.start()

    def restore(self, backup: Row) -> None:
        """The disk is replaced by an older backup of it."""
        self.crash(0)
        self.restores += 1
        self.row = backup.copy()

    def accept(self, link: Link) -> None:
        """A connection came in."""
        self.ends.append(HubEnd(self, link))

    def close_others(self, but: HubEnd | None) -> None:
        """Close all connections of the box that are past the hello, save one."""
        for end in list(self.ends):
            if end is not but and (but is None or end.session.state is not session.Hub.AWAITING_HELLO):
                end.close()

    def submit_task(self) -> None:
        """An operator's task is committed; it has no seq yet."""
        run = messages.Run(task_id=f"t{fresh()}", spec={"kind": "bash.exec"}, remaining_s=60.0)
        self.writer.submit(lambda: self.row.waiting.append(messages.encode_entry(run)), lambda _: None)

    def release(self) -> None:
        """An operator lets the copy that was turned away last begin anew."""
        self.row.released = self.presented

    def ledgered(self, link: Link | None, seq: int) -> bool:
        """Whether the ledger has the events of the link's journal up to `seq`, or had them before a restore."""
        if link is None or self.restores:
            return True
        return set(link.journal.events[:seq]) <= set(self.row.ledger)

    def steps(self) -> Iterator[Callable[[], None]]:
        """What can happen next at the hub."""
        if self.writer:
            yield self.writer.commit
        for end in self.ends:
            yield from end.steps()
