"""The daemon's log: one line a state change on standard error, a constant message and then its fields."""

import json
import logging
import sys
import time
from typing import Final

# What every record has; the rest was given as a field.
_OWN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_PLAIN: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.:/+@%,")


class FieldFormatter(logging.Formatter):
    """`TIME LEVEL message name=value …`, in UTC; a value that has more than plain characters is quoted as JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record, and a traceback below it where one is to be seen."""
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        parts = [f"{seconds}.{int(record.msecs):03d}Z", record.levelname, record.getMessage()]
        parts.extend(f"{name}={_text(value)}" for name, value in vars(record).items() if name not in _OWN)
        line = " ".join(parts)
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def configure(*, verbose: bool) -> None:
    """Log to standard error from now on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(FieldFormatter())
    logging.basicConfig(level=logging.DEBUG if verbose else logging.INFO, handlers=[handler], force=True)
    # Frames and requests are no state changes.
    for name in ("websockets", "urllib3", "uvicorn", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _text(value: object) -> str:
    text = str(value)
    return text if text and _PLAIN.issuperset(text) else json.dumps(text, ensure_ascii=False)
