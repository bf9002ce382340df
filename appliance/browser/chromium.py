"""Which Chromium runs on this box, and with what arguments. Imports nothing heavy."""

import os
import re
import shutil
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from appliance.browser.flags import DISABLED_FEATURES, SWITCHES

# The programs themselves before the scripts that start them: a script would stay beside its program as one more process
# to be killed. The shell before the whole browser: it starts in half the time and takes half the memory.
PROGRAMS: Final = (
    "/usr/lib/chromium/chromium-headless-shell",
    "chromium-headless-shell",
    "chromium",
    "chromium-browser",
    "google-chrome",
)
PACKAGE: Final = "chromium-headless-shell"
HINT: Final = (
    f"Install a browser on the box: on Debian 'apt-get install {PACKAGE}', else 'playwright install chromium'."
)

# A list of our own replaces Playwright's (playwright#40194), so that one is read and this is added to it: with it
# closing a page could hang for ever on a page that reloads itself (playwright#42068).
RENDER_DOCUMENT: Final = "RenderDocument"
_BUNDLE: Final = "driver/package/lib/coreBundle.js"
_FEATURES: Final = re.compile(r"\bdisabledFeatures = \[(.*?)\]\.filter", re.DOTALL)
_COMMENT: Final = re.compile(r"//.*")
_NAME: Final = re.compile(r'"(\w+)"')

# What a page's own scripts may hold: V8's own limit, 4 GB, is more than most boxes have.
SCRIPT_HEAP_MIB: Final = 768


@dataclass(frozen=True, slots=True)
class Program:
    """A browser that is installed here; `path` None: the one that Playwright brought."""

    path: str | None


def find(named: str | None) -> Program | None:
    """The browser to use, by the settings or the first of those that are known; None where there is none."""
    for name in PROGRAMS if named is None else (named,):
        path = shutil.which(name)
        if path is not None:
            return Program(path)
    return Program(None) if named is None and _downloaded() else None


def _downloaded() -> bool:
    """Whether Playwright's own download is there (its page "Browsers", "Managing browser binaries")."""
    root = Path(os.environ.get("PLAYWRIGHT_BROWSERS_PATH") or Path.home() / ".cache" / "ms-playwright")
    return any(root.glob("chromium*-*"))


def has_sandbox() -> bool:
    """Whether Chromium can have its own sandbox: it refuses to run as root with it."""
    return os.geteuid() != 0


def disabled_features() -> list[str]:
    """What the installed Playwright switches off in Chromium; `LookupError` where its list is not found."""
    spec = find_spec("playwright")
    if spec is None or not spec.submodule_search_locations:
        raise LookupError("Playwright is not installed")
    text = (Path(spec.submodule_search_locations[0]) / _BUNDLE).read_text()
    found = _FEATURES.search(text)
    if found is None:
        raise LookupError(f"{_BUNDLE} has no list of disabled features")
    return _NAME.findall(_COMMENT.sub("", found[1]))


def arguments() -> list[str]:
    """What is added to Playwright's own arguments."""
    features = [*disabled_features(), RENDER_DOCUMENT, *DISABLED_FEATURES]
    return [
        f"--disable-features={','.join(features)}",
        f"--js-flags=--max-old-space-size={SCRIPT_HEAP_MIB}",
        *SWITCHES,
    ]
