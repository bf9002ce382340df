"""What an operator sets: command line before environment before file before defaults."""

from pathlib import Path

import pytest

from hub.errors import StartError
from hub.settings import FILE, load


def test_each_place_goes_before_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (load(tmp_path, {}).relay, load(tmp_path, {}).web) == ("127.0.0.1:8443", "127.0.0.1:8080")
    (tmp_path / FILE).write_text('relay = "127.0.0.1:1"\nweb = "127.0.0.1:1"\n')
    assert load(tmp_path, {}).relay == "127.0.0.1:1"
    monkeypatch.setenv("OPERIS_HUB_RELAY", "127.0.0.1:2")
    assert (load(tmp_path, {}).relay, load(tmp_path, {}).web) == ("127.0.0.1:2", "127.0.0.1:1")
    assert load(tmp_path, {"relay": "[::1]:3"}).relay == "[::1]:3"


@pytest.mark.parametrize(
    "text", ['color = "red"', "relay = 5", 'relay = "8443"', 'relay = "h:x"', 'relay = ":1"', 'web = "h:70000"', "[[["]
)
def test_file_that_is_wrong_is_named_with_what_is_known(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(StartError) as caught:
        load(tmp_path, {})
    assert caught.value.hint


def test_unknown_name_in_the_environment_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPERIS_HUB_PORT", "1")
    with pytest.raises(StartError, match="OPERIS_HUB_PORT"):
        load(tmp_path, {})
