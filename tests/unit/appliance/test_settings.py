"""Where the daemon's settings come from, and what is said of one that is wrong."""

from pathlib import Path
from typing import Any

import pytest

from appliance.browser.supervisor import BrowserLimits
from appliance.errors import EXIT_OPERATOR, SettingsWrong
from appliance.settings import ENV_PREFIX, FILE, MIB, BoxSettings, load


@pytest.fixture(autouse=True)
def no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in os.environ:
        if name.startswith(ENV_PREFIX) or name == "CREDENTIALS_DIRECTORY":
            monkeypatch.delenv(name)


def test_defaults_need_nothing_but_the_folder(tmp_path: Path) -> None:
    settings = load({"data": tmp_path / "new"})
    assert (settings.concurrency, settings.hub, settings.enrol, settings.task_user) == (8, None, None, None)
    limits = settings.engine().limits
    assert (limits.concurrency, limits.spool_limit_bytes, limits.disk_floor_bytes) == (8, 64 * MIB, 64 * MIB)
    assert (limits.artifact_bytes, limits.keep_days) == (2048 * MIB, 7)


def test_the_command_line_beats_the_environment_credentials_and_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / FILE).write_text('concurrency = 2\nkeep_days = 3\nspool_limit_mib = 5\nname = "of the file"\n')
    monkeypatch.setenv("OPERIS_BOX_CONCURRENCY", "3")
    monkeypatch.setenv("OPERIS_BOX_KEEP_DAYS", "4")
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "operis_box_enrol").write_text("secret-token")
    (credentials / "operis_box_name").write_text("of the credentials")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    settings = load({"data": tmp_path, "concurrency": "4"})
    assert (settings.concurrency, settings.keep_days, settings.spool_limit_mib) == (4, 4, 5)
    assert settings.name == "of the credentials"
    assert settings.enrol is not None
    assert settings.enrol.get_secret_value() == "secret-token"
    assert "secret-token" not in repr(settings)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"concurrency": "0"}, "concurrency"),
        ({"concurrency": "many"}, "concurrency"),
        ({"name": ""}, "name"),
        ({"name": "x" * 65}, "name"),
        ({"hub": "http://hub:8443/relay"}, "hub"),
        ({"hub": "ws://"}, "hub"),
        ({"hub": "ws://hub:99999/relay"}, "hub"),
        ({"web": "ws://hub:8080"}, "web"),
        ({"web": "hub:8080"}, "web"),
        ({"surprise": "1"}, "surprise"),
    ],
)
def test_a_wrong_setting_is_named_with_what_is_known(tmp_path: Path, given: dict[str, Any], field: str) -> None:
    with pytest.raises(SettingsWrong, match=field) as caught:
        load({"data": tmp_path, **given})
    assert "--help" in caught.value.hint
    assert EXIT_OPERATOR == 1


def test_a_wrong_value_is_not_repeated_since_it_may_be_secret(tmp_path: Path) -> None:
    with pytest.raises(SettingsWrong) as caught:
        load({"data": tmp_path, "hub": "http://user:secret-token@hub/?key=secret-token"})
    assert "secret-token" not in str(caught.value) + caught.value.hint


def test_an_unknown_variable_of_ours_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPERIS_BOX_FOO", "secret-token")
    with pytest.raises(SettingsWrong, match="OPERIS_BOX_FOO") as caught:
        load({"data": tmp_path})
    assert "concurrency" in caught.value.hint
    assert "secret-token" not in str(caught.value) + caught.value.hint


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"concurency = 3\n", "concurency"),
        (b"concurrency = 'three'\n", "concurrency"),
        (b"concurrency: 3\n", FILE),
        (b"\xff\xfe", FILE),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(SettingsWrong, match=said) as caught:
        load({"data": tmp_path})
    assert caught.value.hint


def test_a_folder_in_place_of_the_file_is_named(tmp_path: Path) -> None:
    (tmp_path / FILE).mkdir()
    with pytest.raises(SettingsWrong, match=FILE):
        load({"data": tmp_path})


def test_a_credentials_folder_that_is_gone_gives_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "gone"))
    assert load({"data": tmp_path}).enrol is None


def test_every_setting_says_what_it_is_for() -> None:
    assert [name for name, field in BoxSettings.model_fields.items() if not field.description] == []


def test_a_browsers_settings_reach_the_engine(tmp_path: Path) -> None:
    assert load({"data": tmp_path}).engine().browser == BrowserLimits()
    (tmp_path / FILE).write_text(
        'browser = "off"\nbrowser_concurrency = 2\nbrowser_recycle_tasks = 9\nbrowser_memory_mib = 700\n'
        'browser_program = "/opt/chromium"\n'
    )
    browser = load({"data": tmp_path}).engine().browser
    assert browser == BrowserLimits(
        is_on=False, concurrency=2, recycle_tasks=9, memory_mib=700, program="/opt/chromium"
    )


def test_secrets_come_from_file_credentials_and_environment_and_are_never_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials = tmp_path / "credentials"
    (credentials / "secrets").mkdir(parents=True)
    (credentials / "secrets" / "shop").write_text("of-the-folder\n")
    (credentials / "secrets_bank").write_text("of-systemd")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    monkeypatch.setenv("OPERIS_BOX_SECRETS", '{"mail": "of-the-environment"}')
    (tmp_path / FILE).write_text('[secrets]\nlocal = "of-the-file"\nshop = "hidden-by-the-credential"\n')
    (tmp_path / FILE).chmod(0o600)
    settings = load({"data": tmp_path})
    assert settings.engine().browser.secrets == {
        "shop": "of-the-folder",
        "bank": "of-systemd",
        "mail": "of-the-environment",
        "local": "of-the-file",
    }
    for shown in (repr(settings), repr(settings.engine())):
        assert "of-the" not in shown
        assert "of-systemd" not in shown


def test_a_file_with_secrets_that_others_may_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text('[secrets]\nshop = "very-secret"\n')
    (tmp_path / FILE).chmod(0o644)
    with pytest.raises(SettingsWrong, match="others may read it") as caught:
        load({"data": tmp_path})
    assert "chmod 600" in caught.value.hint
    assert "very-secret" not in str(caught.value)


@pytest.mark.parametrize("text", ['[secrets]\n"a b" = "v"\n', "[secrets]\na = 5\n", 'secrets = "v"\n'])
def test_a_secret_that_is_none_is_named_without_its_value(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    (tmp_path / FILE).chmod(0o600)
    with pytest.raises(SettingsWrong, match="secrets"):
        load({"data": tmp_path})
