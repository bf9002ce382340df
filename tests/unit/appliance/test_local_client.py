"""Asking a daemon that is there, is not, or does not answer."""

import socket
from pathlib import Path
from threading import Thread

import pytest

from appliance import local_client
from appliance.errors import FolderUnusable


def test_no_daemon_is_no_answer(tmp_path: Path) -> None:
    assert local_client.ask(tmp_path, "/status") is None
    assert local_client.ask(tmp_path / "missing", "/status") is None
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(tmp_path / local_client.SOCKET))
    assert local_client.ask(tmp_path, "/status") is None


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FolderUnusable, match="is not a folder"):
        local_client.ask(tmp_path / "file", "/status")


@pytest.mark.parametrize("answer", [b"", b"garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n{no}"])
def test_a_daemon_that_answers_nonsense_is_named(tmp_path: Path, answer: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / local_client.SOCKET))
        server.listen()

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(answer)

        thread = Thread(target=serve)
        thread.start()
        with pytest.raises(FolderUnusable, match="does not answer") as caught:
            local_client.ask(tmp_path, "/status")
        thread.join()
    assert caught.value.hint


def test_a_daemon_that_says_nothing_is_not_waited_for_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_client, "TIMEOUT_S", 0.1)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / local_client.SOCKET))
        server.listen()
        with pytest.raises(FolderUnusable, match="does not answer"):
            local_client.ask(tmp_path, "/status")
