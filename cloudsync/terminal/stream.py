"""Server-sent events, read piece by piece from bytes (WHATWG HTML, section 9.2)."""

import codecs
from dataclasses import dataclass
from typing import Final

# Far above an `end` event with a whole task in it.
EVENT_LIMIT_CHARS: Final = 16 * 1024 * 1024


class BadStream(ValueError):
    """The bytes are no stream of events."""


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One event; `id` is the newest that the stream gave, empty before the first."""

    name: str
    data: str
    id: str = ""


class EventParser:
    """Feed it bytes in any cut; it gives the events that they complete."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._rest: list[str] = []
        self._size = 0
        self._after_return = False
        self._started = False
        self._name = ""
        self._data: list[str] = []
        self._id = ""

    def feed(self, data: bytes) -> list[ServerEvent]:
        """The events that are complete now; `BadStream` where one grows without end."""
        text = self._decoder.decode(data)
        if not text:
            return []
        if not self._started:
            self._started = True
            text = text.removeprefix("\ufeff")
        if self._after_return:
            text = text.removeprefix("\n")
        self._after_return = text.endswith("\r")
        *lines, rest = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        if lines:
            lines[0] = "".join([*self._rest, lines[0]])
            self._rest = []
        self._rest.append(rest)
        self._size += len(text)
        events = [event for line in lines if (event := self._line(line)) is not None]
        if self._size > EVENT_LIMIT_CHARS:
            raise BadStream(f"an event of more than {EVENT_LIMIT_CHARS} characters")
        return events

    def _line(self, line: str) -> ServerEvent | None:
        if not line:
            return self._complete()
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match field:
            case "event":
                self._name = value
            case "data":
                self._data.append(value)
            case "id" if "\0" not in value:
                self._id = value
            case _:  # a comment keeps the connection alive; other fields are for browsers
                pass
        return None

    def _complete(self) -> ServerEvent | None:
        name, data = self._name or "message", self._data
        self._name, self._data, self._size = "", [], 0
        return ServerEvent(name, "\n".join(data), self._id) if data else None
