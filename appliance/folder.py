"""The data folder of a box: who may use it, and where everything in it lies."""

import errno
import fcntl
import os
import shutil
import stat
from pathlib import Path
from typing import Final, Self

from appliance.errors import FolderBusy, FolderNewer, FolderUnusable

# Raised when an older version could no longer read what this one writes.
FORMAT: Final = 1

_LOCK: Final = "lock"
_FORMAT: Final = "format"
_HUBS_DATABASE: Final = "hub.db"
_RECORDS: Final = ("stdout", "stderr", "started", "exit", "stdin")


class DataFolder:
    """An open data folder, ours alone until `close`. One daemon works in it at a time."""

    def __init__(self, path: Path, lock_fd: int) -> None:
        self.path = path
        self.journal = path / "journal.db"
        self.reserve = path / "reserve"
        self.key = path / "identity.key"
        self.enrolment = path / "enrolment.json"
        self.attempts = path / "attempts"
        self.artifacts = path / "artifacts"
        self.pool = path / "pool"
        self.browser = path / "browser"
        self.runners = self.browser / "runners"
        self.browser_temporary = self.browser / "tmp"
        self.profiles = self.browser / "profiles"
        self.local_api = path / "box.sock"
        self._lock_fd = lock_fd

    @classmethod
    def open(cls, path: Path) -> Self:
        """Create what is missing and take the lock; the errors of `errors.OperatorError` where it cannot be used."""
        path = path.absolute()
        try:
            if (path / _HUBS_DATABASE).exists():
                hint = "Name another folder for the box with --data."
                raise FolderUnusable(f"{path} is the data folder of a hub", hint)
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            # What holds another's files is not closed to them.
            if (path / _FORMAT).exists() or not any(path.iterdir()):
                path.chmod(0o700)
            lock_fd = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise unusable(path, error) from error
        try:
            _take_lock(path, lock_fd)
            _check_format(path)
            folder = cls(path, lock_fd)
            for part in (
                folder.attempts,
                folder.artifacts,
                folder.pool,
                folder.browser,
                folder.runners,
                folder.browser_temporary,
                folder.profiles,
            ):
                part.mkdir(mode=0o700, exist_ok=True)
            sync_folder(path)
        except OSError as error:
            os.close(lock_fd)
            raise unusable(path, error) from error
        except Exception:
            os.close(lock_fd)
            raise
        return folder

    def let_pass(self) -> None:
        """Let the task user reach, without seeing what else is there, the folders that its browser writes to."""
        for part in (self.path, self.attempts, self.browser, self.browser_temporary):
            part.chmod(0o711)

    def close(self) -> None:
        """Let another daemon have it."""
        os.close(self._lock_fd)

    def attempt(self, task_id: str, attempt: int) -> Path:
        """Where an attempt's output and records lie while it runs."""
        return self.attempts / attempt_key(task_id, attempt)


def attempt_key(task_id: str, attempt: int) -> str:
    """The spawner's name for one attempt of a task, and that of its folder."""
    return f"{task_id}.{attempt}"


def free_bytes(path: Path) -> int:
    """What the file system still has for us."""
    usage = os.statvfs(path)
    return usage.f_bavail * usage.f_frsize


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable (fsync(2): a file's own fsync does not)."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_durably(path: Path, content: bytes) -> None:
    """Put a private file in place whole, fsynced with its folder: the old content or the new, whatever is cut."""
    draft = path.with_name(f".{path.name}.draft")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        try:
            left = memoryview(content)
            while left:
                # A disk that becomes full takes a part; only the next write says so.
                left = left[os.write(fd, left) :]
            os.fsync(fd)
        finally:
            os.close(fd)
        draft.rename(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def open_within(folder: Path, path: Path) -> int:
    """Open a plain file in a folder that a task can write to, through no link: it may be to what only the daemon can
    read. Raises `OSError`."""
    parts = path.relative_to(folder).parts if path.is_relative_to(folder) else ()
    if not parts or ".." in parts:
        raise OSError("it does not lie in the folder of its task")
    *folders, name = parts
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    at = os.open(folder, flags | os.O_DIRECTORY)
    try:
        for part in folders:
            deeper = os.open(part, flags | os.O_DIRECTORY, dir_fd=at)
            os.close(at)
            at = deeper
        fd = os.open(name, flags | os.O_NONBLOCK, dir_fd=at)
    finally:
        os.close(at)
    status = os.fstat(fd)
    # A hard link may be to a file that the task itself may not read.
    if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
        os.close(fd)
        raise OSError("it is no plain file of its task")
    return fd


def discard(folder: Path) -> None:
    """Remove an attempt's folder; quick for one that holds only what its spawner put there."""
    # By os and str: this is done for every task, and pathlib doubles its cost.
    path = str(folder)
    for name in _RECORDS:
        try:
            os.unlink(f"{path}/{name}")  # noqa: PTH108
        except FileNotFoundError:
            continue
        except OSError:
            break
    try:
        os.rmdir(path)  # noqa: PTH106
    except FileNotFoundError:
        pass
    except OSError:
        remove_tree(folder)


def remove_tree(path: Path) -> None:
    """Remove an attempt's folder with all that its task may have put there."""
    shutil.rmtree(path, ignore_errors=True)


def _take_lock(path: Path, lock_fd: int) -> None:
    try:
        fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(lock_fd, 32, 0).decode(errors="replace").strip()
        raise FolderBusy(
            f"a daemon (process {holder}) already works in {path}",
            f"Ask it with 'operis-box status --data {path}', or give this one a folder of its own.",
        ) from None
    # Of one length always: on a full disk only what has its block already can be written.
    os.pwrite(lock_fd, b"%-20d\n" % os.getpid(), 0)


def _check_format(path: Path) -> None:
    mark = path / _FORMAT
    try:
        text = mark.read_text().strip()
    except FileNotFoundError:
        write_durably(mark, b"%d\n" % FORMAT)
        return
    if not text.isdigit():
        raise FolderUnusable(f"{mark} is damaged", f"Write '{FORMAT}' into it if this version made the folder.")
    if int(text) > FORMAT:
        raise FolderNewer(
            f"{path} was written by a newer version (format {text}, this one knows {FORMAT})",
            "Install the newer version again, or restore the folder from before the upgrade.",
        )


def unusable(path: Path, error: OSError) -> FolderUnusable:
    """The operator's view of what the system said about the folder or something in it."""
    path = path if error.filename is None else Path(os.fsdecode(error.filename))
    reason = (error.strerror or str(error)).lower()
    match error.errno:
        case errno.EEXIST | errno.ENOTDIR:
            return FolderUnusable(f"{path} is not a folder", "Name a folder with --data, or move it away.")
        case errno.EACCES | errno.EPERM | errno.EROFS:
            hint = f"Let the user {os.geteuid()} own it, or name another folder with --data."
            return FolderUnusable(f"{path} cannot be written: {reason}", hint)
        case errno.ENOSPC | errno.EDQUOT:
            return FolderUnusable(f"{path} cannot be written: {reason}", "Free some space on its disk and start again.")
        case _:
            return FolderUnusable(f"{path} cannot be used: {reason}", "See to its disk, or name another with --data.")
