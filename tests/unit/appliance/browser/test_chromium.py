"""Which browser is found, and that it is started with all that Playwright would start it with."""

import os
import sys
from pathlib import Path

import pytest

from appliance.browser import chromium
from appliance.browser.chromium import Program


def test_the_browser_that_is_installed_here_is_found() -> None:
    found = chromium.find(None)
    assert found is not None
    assert found.path is not None
    assert os.access(found.path, os.X_OK)


def test_the_one_that_the_settings_name_is_taken_and_no_other() -> None:
    assert chromium.find(sys.executable) == Program(sys.executable)
    assert chromium.find("/no/such/chromium") is None


def test_without_any_there_is_none_but_for_playwrights_own_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chromium, "PROGRAMS", ("/no/such/chromium", "no-such-chromium"))
    monkeypatch.setenv("PLAYWRIGHT_BROWSERS_PATH", str(tmp_path))
    assert chromium.find(None) is None
    (tmp_path / "chromium_headless_shell-1234").mkdir()
    assert chromium.find(None) == Program(None)


def test_playwrights_whole_list_of_features_stays_off_and_ours_too() -> None:
    features = chromium.disabled_features()
    assert {"MediaRouter", "PaintHolding", "HttpsUpgrades", "OptimizationHints"} <= set(features)
    assert "See" not in features
    assert len(features) >= 10
    (switch,) = [one for one in chromium.arguments() if one.startswith("--disable-features=")]
    off = switch.partition("=")[2].split(",")
    assert off[: len(features)] == features
    assert chromium.RENDER_DOCUMENT in off


def test_root_alone_has_no_sandbox() -> None:
    assert chromium.has_sandbox() == (os.geteuid() != 0)
