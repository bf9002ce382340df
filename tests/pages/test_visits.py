"""What is done on the pages: on enough of them, by every kind of step, and never without a change that is seen."""

import pytest

from cloudsync.steps import GROUPS
from tests.pages.packages import read_list
from tests.pages.visit import Visit, all_visits, changes, interactions

VISITS = all_visits()


@pytest.mark.parametrize("visit", VISITS, ids=str)
def test_a_page_is_acted_on_and_what_changed_was_otherwise_before(visit: Visit) -> None:
    steps = visit.steps()
    assert len(interactions(steps)) >= 3
    assert changes(steps), "nothing is expected to be another after something was done than before"


def test_at_least_thirty_pages_of_the_listed_packages_are_visited() -> None:
    assert len(VISITS) >= 30
    assert {visit.package for visit in VISITS} == set(read_list())


def test_every_kind_of_step_is_used_on_some_page() -> None:
    used = {type(step) for visit in VISITS for step in visit.steps()}
    # Pages keep nothing beyond the task; the application's tests do.
    unused = {kind.__name__ for group in GROUPS.values() for kind in group if kind not in used}
    assert unused == {"SaveProfile"}
