"""The standard streams of a command: there even where they were closed, let go where nobody takes what is written."""

import os
import sys


def open_streams() -> None:
    """Stand in for standard streams that were closed: a socket in their place would get what is printed."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115 - as the real ones


def why_unwritten(error: OSError) -> str:
    """Why the output went nowhere, in words."""
    if isinstance(error, BrokenPipeError):
        return "nobody reads the output any more"
    return f"the output cannot be written: {error.strerror or error}"


def drop_output() -> None:
    """Send what is still to be written nowhere, so that the interpreter's own flush at the end fails no more."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
