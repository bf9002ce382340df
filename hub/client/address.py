"""Where the hub is and who asks: the address and the key, checked before anything is sent."""

import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from hub.client.errors import Misuse

_KEY: Final = re.compile(r"[\x21-\x7e]+\Z")
_FORM: Final = "write it as http://HOST:PORT or https://HOST"


@dataclass(frozen=True, slots=True)
class Address:
    """A hub's base URL without a slash at its end, `HOST:PORT` for messages, and the key (never shown)."""

    url: str
    place: str
    key: str = field(repr=False)


def read_address(url: str | None, key: str | None) -> Address:
    """Check both; `Misuse` says what is missing or wrong."""
    if not url:
        raise Misuse("no hub is named", "give --hub URL or set OPERIS_HUB, as in http://127.0.0.1:8080")
    url = url.strip()
    scheme, separator, _ = url.partition("://")
    if not separator:
        raise Misuse(f"hub '{_shown(url)}' has no scheme", f"{_FORM}: perhaps http://{_shown(url)}")
    if scheme.lower() in {"ws", "wss"}:
        raise Misuse(
            f"hub '{_shown(url)}' is the address of a relay, which is for boxes",
            "give the address of the hub's web port, as in http://HOST:8080",
        )
    if scheme.lower() not in {"http", "https"}:
        raise Misuse(f"hub '{_shown(url)}' has scheme '{scheme}'", _FORM)
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise Misuse(f"hub '{_shown(url)}' is no address: {error}", _FORM) from error
    if not host or not re.fullmatch(r"[^\s/?#@\\]+", host):
        raise Misuse(f"hub '{_shown(url)}' names no host", _FORM)
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise Misuse("the hub's address holds more than scheme, host, port and path", f"{_FORM}; the key goes to --key")
    if not key or not key.strip():
        raise Misuse("no key is given", "give --key K or set OPERIS_KEY; 'operis-hub key add' makes one")
    key = key.strip()
    if not _KEY.match(key):
        raise Misuse("the key has characters that no key has", "copy it again as 'operis-hub key add' printed it")
    name = f"[{host}]" if ":" in host else host
    place = f"{name}:{port or (443 if scheme.lower() == 'https' else 80)}"
    base = f"{scheme.lower()}://{name}{f':{port}' if port else ''}{parts.path.rstrip('/')}"
    return Address(base, place, key)


def _shown(url: str) -> str:
    """The address without what may be secret in it."""
    return re.sub(r"[^/@]*@", "", url).partition("?")[0].partition("#")[0][:200]
