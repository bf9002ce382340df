"""What is done on the pages: on enough of them, by every kind of step, and never without a change that is seen."""

import pytest

from tests.pages.packages import read_list
from tests.pages.visit import Visit, all_visits, changes, interactions

VISITS = all_visits()


@pytest.mark.parametrize("visit", VISITS, ids=str)
def test_a_page_is_acted_on_and_what_changed_was_otherwise_before(visit: Visit) -> None:
    steps = visit.steps()
    assert len(interactions(steps)) >= 3
    assert changes(steps), "nothing is expected to be another after something was done than before"


def test_each_listed_package_is_visited_and_no_other() -> None:
    assert {visit.package for visit in VISITS} == set(read_list())
