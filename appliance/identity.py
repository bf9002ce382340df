"""Who this box is: its key, what it remembers of its enrolment, and the hardware's fingerprint."""

import hashlib
import json
import os
import socket
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final, Self

from appliance.errors import FolderUnusable
from appliance.folder import write_durably
from cloudsync import identity

KEY_BYTES: Final = 32


def load_key(path: Path, *, create: bool) -> bytes:
    """The private key; made, and durable before anybody hears of it, where there is none and `create` allows it."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        if not create:
            raise FolderUnusable(
                f"the key {path} is missing, but the box was enrolled with one",
                "Restore it from a backup; without one, start in an empty folder and enrol the box again.",
            ) from None
        raw = identity.new_key()
        write_durably(path, raw)
    if len(raw) != KEY_BYTES:
        hint = "Restore it from a backup; without one, start in an empty folder and enrol the box again."
        raise FolderUnusable(f"the key {path} is damaged: it has {len(raw)} bytes instead of {KEY_BYTES}", hint)
    return raw


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What is remembered of the hub. `box_id` is None until the box is enrolled; the token is dropped then."""

    hub_url: str | None = None
    web_url: str | None = None
    name: str | None = None
    token: str | None = None
    box_id: str | None = None
    hub: str | None = None
    customer: str | None = None

    @classmethod
    def load(cls, path: Path) -> Self:
        """What the folder remembers; nothing where it is new."""
        try:
            body = json.loads(path.read_bytes())
            return cls(**{name: body.get(name) for name in cls.__slots__})
        except FileNotFoundError:
            return cls()
        except (ValueError, AttributeError, TypeError):
            hint = "Remove it and enrol the box again: it gets its old id back by its key."
            raise FolderUnusable(f"{path} is damaged", hint) from None

    def save(self, path: Path) -> None:
        """Remember it durably."""
        write_durably(path, json.dumps(asdict(self), indent=1).encode() + b"\n")

    def told(self, hub_url: str | None, web_url: str | None, token: str | None, name: str | None) -> Self:
        """With what the operator says now; an enrolled box keeps its name and needs no token."""
        if self.box_id is not None:
            return replace(self, hub_url=hub_url or self.hub_url, web_url=web_url or self.web_url)
        return replace(
            self,
            hub_url=hub_url or self.hub_url,
            web_url=web_url or self.web_url,
            token=token or self.token,
            name=name or self.name,
        )

    def enrolled(self, box_id: str, hub: str, customer: str) -> Self:
        """With what the hub answered."""
        return replace(self, box_id=box_id, hub=hub, customer=customer, token=None)


def hostname() -> str:
    """The machine's own name."""
    return socket.gethostname()


def hardware_id() -> str:
    """The machine's fingerprint, for people to compare; it decides nothing. Network cards change and are not in it."""
    parts = []
    for path in ("/etc/machine-id", "/sys/class/dmi/id/product_uuid", "/sys/class/dmi/id/board_serial"):
        try:
            with Path(path).open("rb") as file:
                parts.append(file.read(256))
        except OSError:
            parts.append(b"")
    parts.append(os.uname().machine.encode())
    return hashlib.sha256(b"\0".join(parts)).hexdigest()
