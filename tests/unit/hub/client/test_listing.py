"""Lists by page or whole."""

import json

from tests.unit.hub.client.conftest import Operis
from tests.unit.hub.client.peer import Peer, a_task, page


def test_page_says_that_there_are_more(operis: Operis, peer: Peer) -> None:
    peer.tell("GET", "tasks", page(a_task(), after="42"))
    done = operis("tasks")
    assert done.text.count("\n") == 2
    assert done.err == "there are more: --all, or --cursor 42\n"


def test_all_follows_the_pages(operis: Operis, peer: Peer) -> None:
    pages = (page(a_task(id="t-1"), after="1"), page(a_task(id="t-2")))
    peer.tell("GET", "tasks", *pages)
    assert [line.split()[0] for line in operis("tasks", "--all").text.splitlines()] == ["TASK", "t-1", "t-2"]
    assert [one.query for one in peer.requests] == [{"limit": "500"}, {"limit": "500", "cursor": "1"}]


def test_json_is_one_object_of_the_api_whole_or_by_page(operis: Operis, peer: Peer) -> None:
    peer.tell("GET", "tasks", page(a_task(id="t-1"), after="1"), page(a_task(id="t-2")), page())
    first = json.loads(operis("tasks", "--json").text)
    assert (first["items"], first["next"]) == ([a_task(id="t-1")], "1")
    assert json.loads(operis("tasks", "--json", "--all").text) == {"items": [a_task(id="t-2")], "next": None}
    assert json.loads(operis("tasks", "--json", "--all").text) == {"items": [], "next": None}


def test_all_as_json_joins_the_pages(operis: Operis, peer: Peer) -> None:
    peer.tell("GET", "tasks", page(a_task(id="t-1"), after="1"), page(a_task(id="t-2"), a_task(id="t-3")))
    found = json.loads(operis("tasks", "--json", "--all").text)
    assert [task["id"] for task in found["items"]] == ["t-1", "t-2", "t-3"]
