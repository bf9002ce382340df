"""What can go wrong between a box and its hub, and with what is typed to either.

Misuse              the operator's: what was typed cannot be done; `hint` says what can
SyncError
├── ProtocolViolation   the peer broke the protocol: its frame is at fault, the connection is closed
├── FrameTooLarge       a frame over the limit: the sender is at fault
├── EntryTooLarge       an entry over the limit: whoever made the entry is at fault, nothing was journaled
├── VariableWrong       a step asks for a variable or a secret that is not there: whoever wrote the steps is at fault
├── StepsUnreadable     a file of steps is neither JSON nor YAML as it should be: whoever wrote it is at fault
└── ChannelClosed       the connection ended: nobody's fault, the next session resumes
"""


class Misuse(Exception):
    """The command line or the environment asks for what cannot be."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class SyncError(Exception):
    """Base of all errors of the sync protocol."""


class ProtocolViolation(SyncError):
    """The peer sent what its state does not allow, or what is no message at all."""


class FrameTooLarge(SyncError):
    """A frame is larger than `messages.FRAME_LIMIT_BYTES`."""


class EntryTooLarge(SyncError):
    """An encoded entry is larger than `messages.ENTRY_LIMIT_BYTES`."""

    def __init__(self, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(f"the entry has {size_bytes} bytes when encoded, {limit_bytes} are allowed")
        self.size_bytes = size_bytes
        self.limit_bytes = limit_bytes


class VariableWrong(SyncError):
    """A text of a browser task asks for a variable or a secret by a wrong name, or for one that has no value."""


class StepsUnreadable(SyncError):
    """A file of steps cannot be read; the message names the line."""


class ChannelClosed(SyncError):
    """The connection has ended; `code` and `reason` are those of the WebSocket close frame where one came."""

    def __init__(self, code: int | None, reason: str) -> None:
        super().__init__(reason or "the connection ended without a close frame")
        self.code = code
        self.reason = reason
