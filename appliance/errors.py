"""What can go wrong on a box.

BoxError
├── OperatorError       the operator's: a sentence and a `hint`; the command ends with EXIT_OPERATOR
│   ├── FolderBusy          another daemon holds the data folder
│   ├── FolderUnusable      the data folder cannot be used as it is
│   ├── FolderNewer         a newer version wrote the data folder
│   ├── SqliteUnsafe        the SQLite library can corrupt a WAL database
│   ├── SettingsWrong       a setting is unknown or not allowed
│   ├── EnrolmentRefused    the hub does not take this box
│   ├── NotRunning          a command needs the folder's daemon, and none runs
│   ├── BrokenOff           the daemon went while it was asked
│   └── Declined            the daemon understood what it was asked, and refused
├── HubUnsuitable       what answered is not the hub that this box needs, now: tried again slowly
├── JournalDamaged      the journal is no longer readable: moved aside, the box begins a new incarnation
├── TaskRefused         this task is not accepted, and why; nothing was journaled
├── IdReused            a task of this id is known already; nothing was journaled
└── Refusal             the caller's of the local API: answered with a problem document (RFC 9457)
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:  # it loads pydantic, which the commands that only ask a daemon do without
    from cloudsync.spec import ErrorBody

EXIT_OPERATOR: Final = 1
EXIT_USAGE: Final = 2
# `operis-box status` where no daemon runs in the folder.
EXIT_NOT_RUNNING: Final = 3
# sysexits(3) EX_IOERR: the disk failed a write; the next start reads what is durable.
EXIT_DISK_FAILED: Final = 74


class BoxError(Exception):
    """Base of all errors of the box."""


class OperatorError(BoxError):
    """Somebody has to do something about it: `hint` says what."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


class FolderBusy(OperatorError):
    """Another daemon works in the data folder."""


class FolderUnusable(OperatorError):
    """The data folder is no folder, not ours to write, or holds something that does not belong together."""


class FolderNewer(OperatorError):
    """The data folder was written by a newer version."""


class SqliteUnsafe(OperatorError):
    """The loaded SQLite has the WAL-reset corruption."""


class SettingsWrong(OperatorError):
    """A setting on the command line, in the environment or in the file is unknown or not allowed."""


class EnrolmentRefused(OperatorError):
    """The hub answered the enrolment with a refusal that a retry cannot change."""


class NotRunning(OperatorError):
    """No daemon runs in the data folder."""


class BrokenOff(OperatorError):
    """The daemon's answer ended before its end: it is going or gone."""


class Declined(OperatorError):
    """The daemon's own answer: a problem document."""

    def __init__(self, status: int, message: str, hint: str, fields: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(message, hint)
        self.status = status
        self.fields = fields
        """The fields that are wrong, and what is wrong with each."""


class HubUnsuitable(BoxError):
    """The other end is no hub, another hub, or does not want this box; `hint` says what to do."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


class JournalDamaged(BoxError):
    """The journal's database fails its check."""


class TaskRefused(BoxError):
    """A task that is not accepted; `error` is what its maker is told."""

    def __init__(self, error: "ErrorBody") -> None:
        super().__init__(error.message)
        self.error = error


class IdReused(BoxError):
    """A task of this id is known; `is_same` where it was asked to do the same."""

    def __init__(self, task_id: str, *, is_same: bool) -> None:
        super().__init__(f"task {task_id} is known already")
        self.task_id = task_id
        self.is_same = is_same


class Refusal(BoxError):
    """A request to the local API that is answered with a problem document; `more` are further members of it."""

    def __init__(self, status: int, code: str, detail: str, hint: str, more: Mapping[str, Any] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.hint = hint
        self.more = dict(more or {})
