# The part of `pysqlite3` that Operis uses, in the types of the standard library, whose interface it follows.
# It lacks what came to `sqlite3` later: `autocommit`, `blobopen`, `iterdump`, `serialize`, `setlimit` and the extended
# error codes; `Connection` still lists its part of them here.
from os import PathLike
from sqlite3.dbapi2 import (
    SQLITE_BUSY as SQLITE_BUSY,
    SQLITE_CONSTRAINT as SQLITE_CONSTRAINT,
    SQLITE_CORRUPT as SQLITE_CORRUPT,
    SQLITE_FULL as SQLITE_FULL,
    SQLITE_IOERR as SQLITE_IOERR,
    SQLITE_LOCKED as SQLITE_LOCKED,
    SQLITE_NOTADB as SQLITE_NOTADB,
    SQLITE_READONLY as SQLITE_READONLY,
    Connection as Connection,
    Cursor as Cursor,
    DatabaseError as DatabaseError,
    DataError as DataError,
    Error as Error,
    IntegrityError as IntegrityError,
    InterfaceError as InterfaceError,
    InternalError as InternalError,
    NotSupportedError as NotSupportedError,
    OperationalError as OperationalError,
    ProgrammingError as ProgrammingError,
    Row as Row,
    complete_statement as complete_statement,
    sqlite_version as sqlite_version,
    sqlite_version_info as sqlite_version_info,
)
from typing import Literal

def connect(
    database: str | bytes | PathLike[str],
    timeout: float = 5.0,
    detect_types: int = 0,
    isolation_level: Literal["DEFERRED", "EXCLUSIVE", "IMMEDIATE"] | None = "DEFERRED",
    check_same_thread: bool = True,
    factory: type[Connection] = ...,
    cached_statements: int = 128,
    uri: bool = False,
    flags: int = ...,
    vfs: str | None = None,
) -> Connection: ...
