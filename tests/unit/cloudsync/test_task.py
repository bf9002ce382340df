"""The life of a task: who may move it where, and which news of it counts."""

import itertools

import pytest

from cloudsync.task import FINAL, RANK, TRANSITIONS, Party, TaskState, box_event_counts, moves

S = TaskState

# The table of the design, written out again: (state, sent, mover) -> where it may go.
ALLOWED: dict[tuple[TaskState, bool, Party], set[TaskState]] = {
    (S.QUEUED, False, Party.HUB): {S.EXPIRED, S.CANCELLED},
    (S.QUEUED, True, Party.BOX): {S.ACCEPTED, S.RUNNING, S.REJECTED, S.EXPIRED, S.CANCELLED},
    (S.QUEUED, True, Party.HUB): {S.INTERRUPTED},
    (S.ACCEPTED, True, Party.BOX): {S.RUNNING, S.CANCELLED, S.INTERRUPTED},
    (S.ACCEPTED, True, Party.HUB): {S.INTERRUPTED},
    (S.RUNNING, True, Party.BOX): {S.RUNNING, S.SUCCEEDED, S.FAILED, S.TIMED_OUT, S.CANCELLED, S.INTERRUPTED},
    (S.RUNNING, True, Party.HUB): {S.INTERRUPTED},
}


@pytest.mark.parametrize(("state", "sent", "by"), list(itertools.product(S, (False, True), Party)))
def test_a_task_moves_as_the_design_says_and_in_no_other_way(state: TaskState, sent: bool, by: Party) -> None:
    assert moves(state, sent=sent, by=by) == ALLOWED.get((state, sent, by), set())


def test_nothing_moves_a_final_task() -> None:
    assert [state for state, _ in TRANSITIONS if state in FINAL] == []


def test_a_state_is_final_or_has_a_way_out() -> None:
    assert set(S) - FINAL == {state for state, _ in TRANSITIONS}


def test_each_state_but_the_first_can_be_reached() -> None:
    reached = {state for movers in TRANSITIONS.values() for states in movers.values() for state in states}
    assert reached == set(S) - {S.QUEUED}


def test_every_move_leads_forward_or_is_another_attempt() -> None:
    for (state, _), movers in TRANSITIONS.items():
        for to in frozenset().union(*movers.values()):
            assert RANK[to] > RANK[state] or (state, to) == (S.RUNNING, S.RUNNING)


@pytest.mark.parametrize(("current", "news"), list(itertools.product(sorted(set(S) - FINAL), S)))
def test_news_of_an_unfinished_task_counts_unless_it_leads_back(current: TaskState, news: TaskState) -> None:
    order = (S.QUEUED, S.ACCEPTED, S.RUNNING)
    leads_back = news in order and order.index(news) < order.index(current)
    assert box_event_counts(current, news, final_by_hub=False) is not leads_back


@pytest.mark.parametrize(("current", "news"), list(itertools.product(sorted(FINAL), S)))
def test_over_a_final_state_only_the_boxs_own_final_one_counts_and_only_if_the_hub_had_set_it(
    current: TaskState, news: TaskState
) -> None:
    assert box_event_counts(current, news, final_by_hub=True) is (news in FINAL)
    assert not box_event_counts(current, news, final_by_hub=False)


def test_a_state_from_a_row_or_from_json_is_final_by_its_word() -> None:
    assert [state for state in TaskState if str(state) in FINAL] == [state for state in TaskState if state in FINAL]
    assert {"succeeded", "rejected"} <= FINAL
    assert not {"running", "", None} & FINAL
