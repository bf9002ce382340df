"""A file server that was not written for it: installed once from its own lock, started for the tests that use it."""

import fcntl
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

from tests.system.plant import free_port
from tests.system.program import ROOT, wait_until

LOCK: Final = Path(__file__).with_name("application.lock")
CACHE: Final = ROOT / ".run" / "application"
INSTALL_LIMIT_S: Final = 90.0
START_LIMIT_S: Final = 30.0
USER: Final = "ann"


class ApplicationMissing(Exception):
    """The application could not be installed."""


def install(cache: Path = CACHE) -> Path:
    """The folder of modules that the lock names, for this interpreter; `ApplicationMissing` where one cannot be had."""
    digest = hashlib.sha256(LOCK.read_bytes() + sys.version.encode()).hexdigest()[:12]
    folder = cache / digest
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        # Two runs of the tests may begin together.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            work = Path(tempfile.mkdtemp(prefix="install-", dir=cache))
            try:
                _install(work / digest)
                (work / digest).rename(folder)
            finally:
                shutil.rmtree(work)
    return folder


def _install(target: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--no-cache-dir"]
    only = ["--require-hashes", "--only-binary", ":all:", "--no-deps", "--requirement", str(LOCK)]
    try:
        done = subprocess.run(
            [*pip, "--quiet", *only, "--target", str(target)],
            capture_output=True,
            text=True,
            timeout=INSTALL_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ApplicationMissing(f"pip was not done within {INSTALL_LIMIT_S:g} s: is the network away?") from error
    if done.returncode != 0:
        said = "\n".join(done.stderr.splitlines()[-10:])
        raise ApplicationMissing(f"pip could not install {LOCK.name}: is the network away?\n{said}")


class Application:
    """It runs from the start on until `close`, with one account; all that it writes lies in `folder`."""

    def __init__(self, modules: Path, folder: Path, password: str) -> None:
        self.files = folder / "files"
        """What it serves at `url`, to its one user alone."""
        self.files.mkdir(parents=True)
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        flags = ["-i", "127.0.0.1", "-p", str(port), "-a", f"{USER}:{password}", "-v", f"{self.files}::A,{USER}"]
        # -S: none of our own packages, only those of its lock.
        command = [sys.executable, "-S", "-m", "copyparty", "-q", "--no-thumb", "--no-mutagen", *flags]
        own = {"PYTHONPATH": str(modules), "HOME": str(folder), "TMPDIR": str(folder), "XDG_CONFIG_HOME": str(folder)}
        with (folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                command, cwd=folder, env={**os.environ, **own}, stdout=log, stderr=log, process_group=0
            )

        def answers() -> bool:
            assert self._process.poll() is None, f"it ended:\n{(folder / 'log').read_text(errors='replace')}"
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                return True
            return False

        wait_until("the application", answers, START_LIMIT_S)

    def close(self) -> None:
        """End it, with all that it started."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
