"""Asks the daemon of a data folder through its socket."""

import http.client
import json
import os
import socket
from pathlib import Path
from typing import Any, Final

from appliance.errors import FolderUnusable

TIMEOUT_S: Final = 10.0
SOCKET: Final = "box.sock"


class _Connection(http.client.HTTPConnection):
    """HTTP over the Unix socket of a folder."""

    def __init__(self, data: Path) -> None:
        super().__init__("localhost", timeout=TIMEOUT_S)
        self._data = data

    def connect(self) -> None:
        folder_fd = os.open(self._data, os.O_PATH | os.O_CLOEXEC)
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT_S)
        try:
            self.sock.connect(f"/proc/self/fd/{folder_fd}/{SOCKET}")
        finally:
            os.close(folder_fd)


def ask(data: Path, path: str) -> dict[str, Any] | None:
    """The answer to a GET; None where no daemon runs in the folder. `FolderUnusable` where it does not answer."""
    connection = _Connection(data)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        answer: dict[str, Any] = json.loads(response.read())
    except (FileNotFoundError, ConnectionRefusedError):
        return None
    except NotADirectoryError:
        raise FolderUnusable(f"{data} is not a folder", "Name a folder with --data.") from None
    except PermissionError:
        hint = "Ask as the user who runs the box, or as root."
        raise FolderUnusable(f"the socket of the box in {data} is not yours to use", hint) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        hint = "It may be starting, stopping or overloaded: try again, and look at its log."
        raise FolderUnusable(f"the daemon of {data} does not answer: {error}", hint) from error
    finally:
        connection.close()
    return answer
