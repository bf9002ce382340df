"""The commands about boxes."""

import json

from tests.unit.hub.client.conftest import Operis
from tests.unit.hub.client.peer import Peer, Reply, a_box, as_json, page, problem


def dated(reply: Reply) -> Reply:
    """The same answer from a hub whose clock shows three minutes after the boxes were seen."""
    return Reply(reply.status, reply.body, {**reply.headers, "Date": "Fri, 02 Jan 2026 03:07:05 GMT"})


def test_boxes_are_a_table_with_ages(operis: Operis, peer: Peer) -> None:
    peer.tell("GET", "boxes", dated(page(a_box(), a_box("box-2", status="never", last_seen_at=None))))
    assert operis("boxes").text.splitlines() == [
        "BOX    STATUS     SEEN       QUEUED  RUNNING",
        "box-1  connected  3 min ago       0        1",
        "box-2  never      never           0        1",
    ]


def test_columns_come_only_where_they_say_something(operis: Operis, peer: Peer) -> None:
    odd = a_box("box-2", customer="other", name="kitchen", status="quarantined", why="clone or rollback")
    peer.tell("GET", "boxes", page(a_box(), odd))
    title, _, line = operis("boxes").text.splitlines()
    assert title.split() == ["BOX", "CUSTOMER", "STATUS", "SEEN", "QUEUED", "RUNNING", "NAME", "WHY"]
    assert line.endswith("kitchen  clone or rollback")


def test_filters_are_the_apis(operis: Operis, peer: Peer) -> None:
    peer.tell("GET", "boxes", page())
    done = operis("boxes", "--status", "lost", "--name", "x y", "--limit", "5", "--cursor", "c")
    assert (done.status, done.out, done.err) == (0, b"", "none\n")
    assert peer.requests[0].query == {"status": "lost", "name": "x y", "limit": "5", "cursor": "c"}


def test_box_shows_sizes_for_people(operis: Operis, peer: Peer) -> None:
    inventory = {"memory_total_kb": 24683652, "disk_total_bytes": 270553174016, "cpus": 2, "versions": {"operis": "1"}}
    health = {"load": [0.5, 1, 2], "uptime_s": 7500, "daemon_rss_kb": 512}
    peer.tell("GET", "boxes/box-1", dated(as_json(a_box(inventory=inventory, health=health, tags=["a", "b"]))))
    text = operis("box", "box-1").text
    for line in (
        "last seen  3 min ago (2026-01-02 03:04:05.000Z)",
        "tags       a, b",
        "tasks      0 queued, 1 running",
        "inventory  memory total: 23.5 GiB",
        "           disk total: 252 GiB",
        "           versions: operis 1",
        "health     load: 0.5, 1, 2",
        "           uptime: 2 h 5 min",
        "           daemon rss: 512 KiB",
    ):
        assert line in text.splitlines()


def test_quarantined_box_shows_its_copies_and_the_way_back(operis: Operis, peer: Peer) -> None:
    copies = [{"copy_id": "c-1", "why": "clone", "seen_at": None, "hwid": "hw"}]
    peer.tell("GET", "boxes/box-1", as_json(a_box(status="quarantined", why="clone", copies=copies)))
    text = operis("box", "box-1").text
    assert "status     quarantined (clone)" in text
    assert "copies     c-1: clone, seen never, hardware hw" in text
    assert "operis release box-1 COPY" in text


def test_release_names_the_copy_and_revoke_the_box(operis: Operis, peer: Peer) -> None:
    peer.tell("POST", "boxes/box-1/release", as_json(a_box()))
    peer.tell("POST", "boxes/box-1/revoke", as_json(a_box(status="revoked")))
    assert operis("release", "box-1", "c-1").status == 0
    assert json.loads(operis("revoke", "box-1", "--json").text)["status"] == "revoked"
    assert [one.json for one in peer.requests] == [{"copy_id": "c-1"}, {}]


def test_unknown_box_names_those_that_look_like_it(operis: Operis, peer: Peer) -> None:
    peer.tell("GET", "boxes/kitchn", problem(404, "there is no box 'kitchn'"))
    peer.tell("GET", "boxes", page(a_box("kitchen"), a_box("cellar")))
    done = operis("box", "kitchn")
    assert done.err.splitlines() == [
        "operis: there is no box 'kitchn'",
        "hint: did you mean kitchen? 'operis boxes' lists them",
    ]


def test_name_of_a_box_leads_to_its_id(operis: Operis, peer: Peer) -> None:
    peer.tell("GET", "boxes/kitchen", problem(404, "there is no box 'kitchen'"))
    peer.tell("GET", "boxes", page(a_box("box-7", name="kitchen")))
    assert "did you mean box-7?" in operis("box", "kitchen").err


def test_fleet_is_counted(operis: Operis, peer: Peer) -> None:
    found = {"boxes": {"connected": 3, "lost": 1}, "tasks": {"queued": 2}}
    peer.tell("GET", "fleet", as_json(found))
    lines = [line.split() for line in operis("fleet").text.splitlines()]
    assert lines[1:] == [["boxes", "connected", "3"], ["boxes", "lost", "1"], ["tasks", "queued", "2"]]
    assert json.loads(operis("fleet", "--json").text) == found
