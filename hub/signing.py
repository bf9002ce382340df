"""What the hub signs so that it need not remember it: the tokens of sessions, and links to artifacts.

A signature is HMAC-SHA256 with the hub's own key over a purpose and the fields, so that none stands for another.
"""

import base64
import hashlib
import hmac
import json
from dataclasses import asdict, dataclass
from typing import Final

TOKEN_PREFIX: Final = "ops_"  # noqa: S105 - shows in a log what it is
KEY_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class SessionToken:
    """Says that a box may upload in the session of this fence."""

    box_id: str
    customer_id: str
    fence: int


@dataclass(frozen=True, slots=True)
class Link:
    """Says that whoever has it may read one artifact until a time, as long as the key that made it is good."""

    artifact_id: str
    key_id: str
    expires_s: int
    """Seconds since 1970."""


class Signer:
    """Signs and checks with one key."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def token(self, token: SessionToken) -> str:
        """The token as a box sends it."""
        fields = json.dumps(asdict(token), separators=(",", ":")).encode()
        return f"{TOKEN_PREFIX}{_encode(fields)}.{self._sign('session', fields)}"

    def read_token(self, text: str) -> SessionToken | None:
        """What the token says; None where this hub did not sign it."""
        encoded, dot, signature = text.removeprefix(TOKEN_PREFIX).partition(".")
        fields = _decode(encoded)
        if not dot or fields is None or not hmac.compare_digest(self._sign("session", fields), _plain(signature)):
            return None
        return SessionToken(**json.loads(fields))

    def signature(self, link: Link) -> str:
        """The signature of a link."""
        return self._sign("link", json.dumps(asdict(link), separators=(",", ":")).encode())

    def is_signed(self, link: Link, signature: str) -> bool:
        """Whether this hub made the link."""
        return hmac.compare_digest(self.signature(link), _plain(signature))

    def _sign(self, purpose: str, fields: bytes) -> str:
        return _encode(hmac.digest(self._key, purpose.encode() + b"\0" + fields, hashlib.sha256))


def _plain(text: str) -> str:
    """What `compare_digest` can compare."""
    return text if text.isascii() else ""


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _decode(text: str) -> bytes | None:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError:
        return None
