"""Says in words why a step failed, from what Playwright said."""

import re
from typing import Final
from urllib.parse import urlsplit

_LINE_LIMIT: Final = 300
_CALL: Final = re.compile(r"^(?:[A-Za-z]+\.[a-z_A-Z0-9]+: )")
_TIMEOUT: Final = re.compile(r"Timeout [0-9.]+ms exceeded\.?")
_NET: Final = re.compile(r"net::(ERR_[A-Z0-9_]+)")
_ANSI: Final = re.compile(r"\x1b\[[0-9;]*m")
_NET_WORDS: Final = {
    "ERR_NAME_NOT_RESOLVED": "the host's name has no address",
    "ERR_CONNECTION_REFUSED": "the host refused the connection",
    "ERR_CONNECTION_RESET": "the host ended the connection",
    "ERR_CONNECTION_CLOSED": "the host ended the connection",
    "ERR_CONNECTION_TIMED_OUT": "the host did not answer",
    "ERR_TIMED_OUT": "the host did not answer",
    "ERR_ADDRESS_UNREACHABLE": "the host cannot be reached",
    "ERR_INTERNET_DISCONNECTED": "the box has no network",
    "ERR_NETWORK_CHANGED": "the box's network changed meanwhile",
    "ERR_EMPTY_RESPONSE": "the host ended the connection without an answer",
    "ERR_TOO_MANY_REDIRECTS": "the address leads round in a circle",
    "ERR_CERT_DATE_INVALID": "the host's certificate is out of date, or the box's clock is wrong",
    "ERR_CERT_AUTHORITY_INVALID": "the host's certificate is from nobody that the box trusts",
    "ERR_CERT_COMMON_NAME_INVALID": "the host's certificate is for another name",
    "ERR_SSL_PROTOCOL_ERROR": "the host speaks no TLS there",
    "ERR_TUNNEL_CONNECTION_FAILED": "the box's filter made no connection",
    "ERR_PROXY_CONNECTION_FAILED": "the proxy cannot be reached",
    "ERR_INVALID_URL": "it is no address",
    "ERR_BLOCKED_BY_CLIENT": "it is blocked",
}


def reason(message: str, timeout_s: float) -> str:
    """One sentence: what happened, with the last thing that Playwright was waiting for or saw."""
    head, _, log = _ANSI.sub("", message).partition("Call log:")
    lines = [line.strip() for line in head.strip().splitlines() if line.strip()]
    first = _CALL.sub("", lines[0]) if lines else "it failed"
    first = first.removeprefix("Error: ")
    if (net := _NET.search(first)) is not None:
        words = _NET_WORDS.get(net[1])
        return f"{words} ({net[1]})" if words else f"the browser says {net[1]}"
    if first.startswith("Download is starting"):
        return "the address is a file to be saved, no page: take a download step"
    seen = _last(log)
    if _TIMEOUT.search(first):
        # The logs of assertions and navigations have what was waited for as their only line.
        return f"not done within {timeout_s:.3g} s" + (f": {seen}" if seen else "")
    more = [line for line in lines[1:] if re.match(r"[0-9]+\)", line)][:3]
    said = " ".join([first, *more])
    return said if len(said) <= _LINE_LIMIT * 2 else f"{said[: _LINE_LIMIT * 2]} …"


def _last(log: str) -> str:
    """What the log says was in the way last; what was waited for, where nothing was."""
    lines = [re.sub(r"^(?:- )?(?:[0-9]+ × )?", "", line.strip()) for line in log.strip().splitlines()]
    lines = [line for line in lines if line]
    telling = [
        line
        for line in lines
        if re.search(
            r"intercepts|not visible|not enabled|not stable|not editable|detached|outside|resolved to|did not", line
        )
        and not line.startswith("waiting for element to be")
    ]
    waited = [line for line in lines if line.startswith(("waiting for", "navigating to", "navigated to"))]
    blocking = [line for line in telling if "resolved to" not in line]
    chosen = (blocking or telling or waited or lines)[-1:] or [""]
    first_wait = waited[0] if waited and chosen[0] != waited[0] and not waited[0].startswith("navigat") else ""
    said = "; ".join(filter(None, (first_wait, chosen[0])))
    return said if len(said) <= _LINE_LIMIT else f"{said[:_LINE_LIMIT]} …"


def place(url: str) -> str:
    """An address fit for a message: without what may be secret in it, its query, its fragment and any password."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"}:
        return url[:60]
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"[:200] + ("?…" if parts.query else "")
