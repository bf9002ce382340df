"""Fetches the packages whose pages are visited: once, in the versions and with the digests of `packages.toml`."""

import base64
import fcntl
import hashlib
import json
import shutil
import subprocess
import tarfile
import tempfile
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.system.program import ROOT

LIST: Final = Path(__file__).with_name("packages.toml")
CACHE: Final = ROOT / ".run" / "pages"
# Some 15 MB: far above what that takes, so that it ends a registry that does not answer.
FETCH_LIMIT_S: Final = 90.0


class PackageUnreachable(Exception):
    """A package could not be fetched, or is not what the list says."""


@dataclass(frozen=True)
class Package:
    """One row of the list."""

    name: str
    version: str
    integrity: str
    """As npm writes it: `sha512-` and the digest of the archive in base64."""
    root: str
    """The folder in the package that is served."""
    pages: str
    """The folder beside the list that says what is done on its pages."""

    @property
    def spec(self) -> str:
        """Its name and version as npm takes them."""
        return f"{self.name}@{self.version}"

    def folder(self, cache: Path = CACHE) -> Path:
        """Where it lies unpacked; another digest is another folder."""
        digest = base64.b64decode(self.integrity.removeprefix("sha512-")).hex()
        return cache / f"{self.name.replace('/', '+')}-{self.version}-{digest[:12]}"


def read_list() -> dict[str, Package]:
    """The packages by the name of their folder of pages."""
    rows = tomllib.loads(LIST.read_text(encoding="utf-8"))["package"]
    return {row["pages"]: Package(**row) for row in rows}


def fetch(packages: Sequence[Package], cache: Path = CACHE) -> None:
    """Bring those that are not there yet; `PackageUnreachable` says what to do where one cannot be had."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        # Two runs of the tests may begin together.
        fcntl.flock(lock, fcntl.LOCK_EX)
        missing = [one for one in packages if not one.folder(cache).exists()]
        if missing:
            work = Path(tempfile.mkdtemp(prefix="fetch-", dir=cache))
            try:
                _fetch(missing, cache, work)
            finally:
                shutil.rmtree(work)


def _fetch(missing: Sequence[Package], cache: Path, work: Path) -> None:
    archives = _pack([one.spec for one in missing], work)
    for package in missing:
        archive = archives[package.spec]
        digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
        if f"sha512-{digest}" != package.integrity:
            raise PackageUnreachable(f"{package.spec} came with the digest sha512-{digest}, not {package.integrity}")
        unpacked = work / package.folder(cache).name
        with tarfile.open(archive) as tar:
            tar.extractall(unpacked, filter="data")
        (inside,) = unpacked.iterdir()
        inside.rename(package.folder(cache))


def _pack(specs: Sequence[str], work: Path) -> dict[str, Path]:
    command = ["npm", "pack", "--json", "--pack-destination", str(work), "--cache", str(work / "npm"), *specs]
    try:
        done = subprocess.run(command, cwd=work, capture_output=True, text=True, timeout=FETCH_LIMIT_S, check=False)
    except FileNotFoundError as error:
        raise PackageUnreachable("there is no npm here: install it, or let scripts/test do so") from error
    except subprocess.TimeoutExpired as error:
        raise PackageUnreachable(f"npm brought nothing within {FETCH_LIMIT_S:g} s: is the network away?") from error
    if done.returncode != 0:
        said = "\n".join(done.stderr.splitlines()[-10:])
        raise PackageUnreachable(f"npm could not fetch {', '.join(specs)}: is the network away?\n{said}")
    return {f"{one['name']}@{one['version']}": work / one["filename"] for one in json.loads(done.stdout)}
