"""Asking a daemon that is there, is not, or does not answer."""

import socket
from pathlib import Path

import pytest

from appliance.client.box import SOCKET, Box, task_path
from appliance.errors import BrokenOff, Declined, FolderUnusable, NotRunning, OperatorError
from cloudsync.errors import Misuse
from tests.unit.appliance.client.sayer import answering, reply

PROBLEM = b'{"status": 422, "detail": "no", "hint": "h", "errors": [{"field": "cwd", "message": "m"}]}'


def test_no_daemon_is_told_from_no_box(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(FolderUnusable, match="is not the data folder of a box"):
            Box(path).get("/status")
    (tmp_path / "journal.db").touch()
    with pytest.raises(NotRunning, match="no daemon runs"):
        Box(tmp_path).get("/status")
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(tmp_path / SOCKET))
    with pytest.raises(NotRunning) as caught:
        Box(tmp_path).get("/status")
    assert f"operis-box run --data {tmp_path}" in caught.value.hint


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FolderUnusable, match="is not a folder"):
        Box(tmp_path / "file").get("/status")


@pytest.mark.parametrize(
    "answer",
    [b"garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n{no}", b"HTTP/1.1 500 No\r\n\r\n[]"],
)
def test_a_daemon_that_answers_nonsense_is_named(tmp_path: Path, answer: bytes) -> None:
    with answering(tmp_path, answer), pytest.raises(FolderUnusable, match="does not answer") as caught:
        Box(tmp_path).get("/status")
    assert caught.value.hint


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n{"])
def test_a_daemon_that_goes_while_it_answers_is_told_apart(tmp_path: Path, answer: bytes) -> None:
    with answering(tmp_path, answer), pytest.raises(BrokenOff, match="broke off"):
        Box(tmp_path).get("/status")


def test_a_stream_that_breaks_off_is_told_while_it_is_read(tmp_path: Path) -> None:
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n5\r\nde"
    with answering(tmp_path, answer), Box(tmp_path).open("/x") as stream:
        assert stream.read1(100) == b"abc"
        stream.read1(100)
        with pytest.raises(BrokenOff):
            stream.read1(100)


def test_what_the_reader_does_wrong_is_its_own(tmp_path: Path) -> None:
    def read() -> None:
        with Box(tmp_path).open("/x", {"a": "b c", "none": None}) as stream:
            assert (stream.status, stream.read(), stream.header("nothing")) == (200, b"abc", "")
            raise BrokenPipeError

    with answering(tmp_path, b"HTTP/1.1 200 OK\r\n\r\nabc"), pytest.raises(BrokenPipeError):
        read()


def test_a_refusal_is_told_as_the_daemon_put_it(tmp_path: Path) -> None:
    with answering(tmp_path, reply(422, PROBLEM)), pytest.raises(Declined, match="no") as caught:
        Box(tmp_path).post("/tasks", {"kind": "x"})
    assert (caught.value.status, caught.value.hint, caught.value.fields) == (422, "h", [("cwd", "m")])


def test_a_daemon_that_says_nothing_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / SOCKET))
        server.listen()
        with pytest.raises(OperatorError, match="does not answer"):
            Box(tmp_path, timeout_s=0.1).get("/status")


@pytest.mark.parametrize(("task_id", "path"), [("t-1", "/tasks/t-1"), ("a?b", "/tasks/a%3Fb"), ("é", "/tasks/%C3%A9")])
def test_an_id_is_one_segment_of_a_path(task_id: str, path: str) -> None:
    assert task_path(task_id) == path


@pytest.mark.parametrize("task_id", ["", ".", "..", "../status", "a/b"])
def test_what_would_lead_to_another_path_is_no_id(task_id: str) -> None:
    with pytest.raises(Misuse, match="no id of a task"):
        task_path(task_id)
