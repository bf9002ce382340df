"""A line of the log."""

import logging
import sys

from appliance.logs import FieldFormatter


def record(message: str, **fields: object) -> logging.LogRecord:
    made = logging.makeLogRecord({"msg": message, "levelno": logging.INFO, "levelname": "INFO", "created": 0.25})
    vars(made).update(fields, msecs=250.0)
    return made


def test_a_line_has_time_level_message_and_fields() -> None:
    line = FieldFormatter().format(record("the link changed", state="connected", session=3, error="no such host: x"))
    assert line == ('1970-01-01T00:00:00.250Z INFO the link changed state=connected session=3 error="no such host: x"')


def test_a_field_cannot_begin_a_line_of_its_own() -> None:
    line = FieldFormatter().format(record("m", text='two\nlines "quoted" = x', empty=""))
    assert "\n" not in line
    assert line.endswith('text="two\\nlines \\"quoted\\" = x" empty=""')


def test_a_traceback_follows_its_line() -> None:
    try:
        raise ValueError("broken")
    except ValueError:
        made = record("failed")
        made.exc_info = sys.exc_info()
    first, *rest = FieldFormatter().format(made).splitlines()
    assert first.endswith("failed")
    assert rest[-1] == "ValueError: broken"
