"""The hub's judgement of a hello: each ruling, and which comes first."""

from dataclasses import replace

import pytest

from cloudsync.fence import Known, Ruling, Standing, Verdict, copy_id, judge
from cloudsync.messages import Hello

KNOWN = Known(
    standing=Standing.ACTIVE,
    incarnation="now",
    closed_incarnations=frozenset({"old"}),
    fence=10,
    settled=9,
    command_seq=7,
    acked_command_seq=5,
    event_seq=20,
    released_copy=None,
)
# What the box itself says next: it has all that the hub knows of.
HELLO = Hello(
    box_id="b",
    incarnation="now",
    session=11,
    last=9,
    command_seq=5,
    event_seq=20,
    acked_event_seq=20,
    hwid="0123456789abcdef",
)
# What a box says that begins anew.
FRESH = Hello(box_id="b", incarnation="new", session=11, last=0, command_seq=0, event_seq=0, hwid="0123456789abcdef")


def say(hello: Hello = HELLO, **changes: object) -> Hello:
    return hello.model_copy(update=changes)


def rule(known: Known = KNOWN, hello: Hello = HELLO) -> Ruling:
    return judge(known, hello).ruling


def test_a_box_that_has_just_what_the_hub_knows_of_continues() -> None:
    assert judge(KNOWN, HELLO) == Verdict(Ruling.CONTINUE)


def test_a_box_whose_news_was_not_acked_yet_continues() -> None:
    assert rule(hello=say(last=10, command_seq=7, event_seq=99)) is Ruling.CONTINUE


@pytest.mark.parametrize("session", [0, 9, 10])
def test_a_session_up_to_the_fence_is_stale(session: int) -> None:
    assert judge(KNOWN, say(session=session)) == Verdict(Ruling.STALE)


def test_nothing_of_a_stale_hello_is_judged() -> None:
    assert rule(hello=say(session=10, last=0, command_seq=0, event_seq=0)) is Ruling.STALE
    assert rule(hello=say(session=10, command_seq=99)) is Ruling.STALE


@pytest.mark.parametrize(
    ("less", "why"),
    [
        ({"last": 8}, "it last settled session 8, the hub knows of 9"),
        ({"command_seq": 4}, "it holds commands up to 4, it had acked 5"),
        ({"event_seq": 19}, "it holds events up to 19, the ledger has 20"),
    ],
)
def test_a_copy_that_knows_less_than_the_hub_is_quarantined_and_with_it_the_box(less: dict[str, int], why: str) -> None:
    assert judge(KNOWN, say(HELLO, **less)) == Verdict(Ruling.QUARANTINE, why, copy_only=False)


@pytest.mark.parametrize(
    "more", [{"command_seq": 8}, {"acked_event_seq": 21, "event_seq": 21}, {"last": 11, "session": 12}]
)
def test_a_box_that_knows_more_than_the_hub_shows_that_the_hub_was_restored(more: dict[str, int]) -> None:
    assert rule(hello=say(HELLO, **more)) is Ruling.RESTORED


def test_a_copy_that_knows_less_in_one_thing_is_no_proof_of_a_restored_hub() -> None:
    assert rule(hello=say(last=8, command_seq=99, event_seq=99, acked_event_seq=99)) is Ruling.QUARANTINE
    assert rule(hello=say(command_seq=4, acked_event_seq=99, event_seq=99)) is Ruling.QUARANTINE
    assert rule(hello=say(command_seq=99, event_seq=19)) is Ruling.QUARANTINE


def test_the_first_hello_of_a_box_is_adopted() -> None:
    first = replace(KNOWN, incarnation=None, closed_incarnations=frozenset(), fence=0, settled=0)
    assert rule(first, say(FRESH, session=1)) is Ruling.ADOPT


def test_a_new_incarnation_is_adopted_with_the_events_that_it_still_holds() -> None:
    assert rule(hello=FRESH) is Ruling.ADOPT
    assert rule(hello=say(FRESH, event_seq=12)) is Ruling.ADOPT


@pytest.mark.parametrize("session", [1, 10])
def test_a_new_incarnation_comes_above_the_fence_too(session: int) -> None:
    assert rule(hello=say(FRESH, session=session)) is Ruling.STALE


@pytest.mark.parametrize("held", [{"last": 1}, {"command_seq": 1}])
def test_an_unknown_incarnation_with_a_full_journal_is_quarantined(held: dict[str, int]) -> None:
    assert judge(KNOWN, say(FRESH, **held)).copy_only is False
    assert rule(hello=say(FRESH, **held)) is Ruling.QUARANTINE


@pytest.mark.parametrize("session", [1, 11])
def test_a_copy_of_a_closed_incarnation_is_shut_out_alone(session: int) -> None:
    verdict = judge(KNOWN, say(incarnation="old", session=session))
    assert (verdict.ruling, verdict.copy_only) == (Ruling.QUARANTINE, True)


def test_a_copy_of_a_closed_incarnation_with_an_empty_journal_is_no_new_one() -> None:
    assert rule(hello=say(FRESH, incarnation="old")) is Ruling.QUARANTINE


QUARANTINED = replace(KNOWN, standing=Standing.QUARANTINED)


@pytest.mark.parametrize("hello", [HELLO, FRESH, say(session=1), say(command_seq=99), say(FRESH, last=1)])
def test_no_copy_of_a_quarantined_box_gets_in(hello: Hello) -> None:
    assert rule(QUARANTINED, hello) is Ruling.QUARANTINE


def test_the_released_copy_and_only_it_is_told_to_begin_anew() -> None:
    released = replace(QUARANTINED, released_copy=copy_id(HELLO))
    assert rule(released, HELLO) is Ruling.BEGIN_ANEW
    for other in (say(last=8), say(hwid="another"), say(incarnation="old")):
        assert rule(released, other) is Ruling.QUARANTINE


def test_the_released_copy_is_told_so_whatever_else_it_says() -> None:
    for hello in (say(session=1), say(incarnation="old"), say(FRESH, last=3), say(command_seq=0), FRESH):
        assert rule(replace(QUARANTINED, released_copy=copy_id(hello)), hello) is Ruling.BEGIN_ANEW


def test_once_a_copy_is_released_its_new_incarnation_ends_the_quarantine() -> None:
    released = replace(QUARANTINED, released_copy=copy_id(HELLO))
    assert rule(released, FRESH) is Ruling.ADOPT
    assert rule(released, say(FRESH, session=10)) is Ruling.STALE


@pytest.mark.parametrize("hwid", ["another", "", "0123456789a", "f.0123456789ab"])
def test_once_a_copy_is_released_the_new_incarnation_of_another_stays_shut_out(hwid: str) -> None:
    released = replace(QUARANTINED, released_copy=copy_id(HELLO))
    verdict = judge(released, say(FRESH, hwid=hwid))
    assert verdict == Verdict(Ruling.QUARANTINE, "the box is quarantined and this copy of it was not released")
    dotted = say(FRESH, hwid="a.b.c")
    assert (
        rule(replace(QUARANTINED, released_copy=copy_id(dotted.model_copy(update={"last": 3}))), dotted) is Ruling.ADOPT
    )


def test_a_revoked_box_is_refused_whatever_it_says() -> None:
    revoked = replace(KNOWN, standing=Standing.REVOKED, released_copy=copy_id(HELLO))
    for hello in (HELLO, FRESH, say(session=1), say(incarnation="old"), say(last=0)):
        assert rule(revoked, hello) is Ruling.REVOKED


def test_a_copy_is_named_by_its_incarnation_its_newest_session_and_its_hardware() -> None:
    assert copy_id(HELLO) == "now.9.0123456789ab"
    assert copy_id(say(session=99, command_seq=0, event_seq=0)) == copy_id(HELLO)
    assert len({copy_id(HELLO), copy_id(say(last=8)), copy_id(say(incarnation="old")), copy_id(say(hwid="x"))}) == 4


def test_whoever_is_not_let_in_is_told_why() -> None:
    shut_out = {Ruling.REVOKED, Ruling.BEGIN_ANEW, Ruling.QUARANTINE, Ruling.RESTORED, Ruling.ADOPT}
    hellos = (HELLO, FRESH, say(last=0), say(command_seq=99), say(incarnation="old"))
    for standing in Standing:
        for hello in hellos:
            verdict = judge(replace(KNOWN, standing=standing), hello)
            assert bool(verdict.why) is (verdict.ruling in shut_out)
