"""The box's key, what it remembers of its hub, and its fingerprint."""

from pathlib import Path

import pytest

from appliance.errors import FolderUnusable
from appliance.identity import KEY_BYTES, Enrolment, hardware_id, hostname, load_key


def test_a_key_is_made_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "key"
    key = load_key(path, create=True)
    assert len(key) == KEY_BYTES
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_key(path, create=False) == load_key(path, create=True) == key


def test_a_missing_or_damaged_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(FolderUnusable, match="is missing"):
        load_key(tmp_path / "key", create=False)
    (tmp_path / "key").write_bytes(b"x" * (KEY_BYTES - 1))
    with pytest.raises(FolderUnusable, match=f"{KEY_BYTES - 1} bytes"):
        load_key(tmp_path / "key", create=True)


def test_what_is_said_is_remembered_until_the_box_is_enrolled(tmp_path: Path) -> None:
    path = tmp_path / "enrolment.json"
    assert Enrolment.load(path) == Enrolment()
    told = Enrolment().told("ws://a", "http://a", "token", "name")
    told.save(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert Enrolment.load(path) == told
    assert told.told("ws://b", None, None, None) == Enrolment("ws://b", "http://a", "name", "token")
    enrolled = told.enrolled("box-1", "hub", "acme")
    assert enrolled.token is None
    moved = enrolled.told("ws://c", None, "another", "another")
    assert (moved.hub_url, moved.web_url, moved.name, moved.token) == ("ws://c", "http://a", "name", None)


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '"x"'])
def test_a_damaged_memory_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "enrolment.json"
    path.write_text(text)
    with pytest.raises(FolderUnusable, match="is damaged") as caught:
        Enrolment.load(path)
    assert caught.value.hint


def test_the_fingerprint_is_the_same_each_time() -> None:
    assert hardware_id() == hardware_id()
    assert len(hardware_id()) == 64
    assert hostname()
