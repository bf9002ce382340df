"""Names of the files that a task left: as labels of artifacts, and as names of files where they are fetched to.

One rule for all who name them, so that the name in a step's value is the one under which the file is found.
"""

from collections.abc import Collection, Iterable
from typing import Final

# So that an outcome can name 500 files, of no character that JSON makes two of. File systems take 255, so there is room
# for what is put around a name.
LABEL_BYTES: Final = 100
_SUFFIX_CHARACTERS: Final = 16
# What the box leaves beside a browser task's own files.
FAILURE_PICTURE: Final = "failure.png"
FAILURE_TEXT: Final = "failure.txt"
RESULT: Final = "result.json"
TRACE: Final = "trace.zip"
RESERVED: Final = frozenset({FAILURE_PICTURE, FAILURE_TEXT, RESULT, TRACE})

_NAMELESS: Final = "artifact"
_NO_LABEL: Final = '/\\"'
_NO_FILE_NAME: Final = '/\\:*?"<>|'


def label(name: str, taken: Collection[str] = ()) -> str:
    """The name as a label: short, plain, leading nowhere, and unlike those `taken` (as `folded` has them)."""
    return _fresh(name, taken, _NO_LABEL)


def labels(names: Iterable[str]) -> list[str]:
    """Names as labels, each unlike the others: `a.png`, `a-2.png`. Labels that differ stay as they are."""
    return _all(names, _NO_LABEL)


def file_names(names: Iterable[str]) -> list[str]:
    """Names as those of files in one folder, of whatever file system: each its own, none hidden."""
    return _all(names, _NO_FILE_NAME)


def folded(name: str) -> str:
    """What two names must not have in common: some file systems tell no capitals."""
    return name.casefold()


def _all(names: Iterable[str], unwanted: str) -> list[str]:
    taken: set[str] = set()
    made = []
    for name in names:
        made.append(_fresh(name, taken, unwanted))
        taken.add(folded(made[-1]))
    return made


def _fresh(name: str, taken: Collection[str], unwanted: str) -> str:
    plain = "".join("_" if char in unwanted or not char.isprintable() else char for char in name)
    stem, suffix = _split(plain.strip(" .") or _NAMELESS)
    found, number = _short(stem, suffix), 1
    while folded(found) in taken:
        number += 1
        found = _short(stem, f"-{number}{suffix}")
    return found


def _split(name: str) -> tuple[str, str]:
    """The name and, where it has one, its extension with the dot."""
    stem, dot, end = name.rpartition(".")
    return (stem, dot + end) if stem and len(end) <= _SUFFIX_CHARACTERS else (name, "")


def _short(stem: str, suffix: str) -> str:
    """Both within the limit; the stem gives way."""
    room = LABEL_BYTES - len(suffix.encode())
    cut = stem.encode()[:room].decode(errors="ignore")
    return (cut if cut == stem else cut.rstrip(" .")) + suffix
