"""The files that a task keeps: where each lies in the attempt's folder, and the name it goes by."""

from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Final

MEDIA_TYPES: Final = {
    ".png": "image/png",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".pdf": "application/pdf",
}
OTHER_MEDIA_TYPE: Final = "application/octet-stream"
NAME_LIMIT_BYTES: Final = 200


@dataclass(frozen=True, slots=True)
class ArtifactFile:
    """A file that a task left: the label it goes by, unlike that of any other of the task, and where it lies."""

    name: str
    media_type: str
    path: Path


class KeptFiles:
    """The files of one attempt."""

    def __init__(self, folder: Path) -> None:
        self.kept: list[ArtifactFile] = []
        self._folder = folder

    def place(self, number: int, suffix: str) -> Path:
        """Where the file of this step is to lie; its name there has nothing of what others wrote."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        taken = sum(1 for file in self.kept if file.path.name.startswith(f"{number:03}"))
        return self._folder / f"{number:03}{f'-{taken}' if taken else ''}{suffix}"

    def add(self, path: Path, name: str, media_type: str) -> ArtifactFile:
        """Keep what lies there under a name; one that is taken gets a number."""
        file = ArtifactFile(self._free(short(name)), media_type, path)
        self.kept.append(file)
        return file

    def find(self, name: str) -> ArtifactFile | None:
        """The file of that name."""
        return next((file for file in self.kept if file.name == name), None)

    def _free(self, name: str) -> str:
        taken = {file.name.casefold() for file in self.kept}
        stem, suffix = PurePath(name).stem, PurePath(name).suffix
        number = 1
        while name.casefold() in taken:
            number += 1
            name = f"{stem}-{number}{suffix}"
        return name


def name_of(number: int, action: str, label: str | None, suffix: str) -> str:
    """The name of a step's file: its label with the suffix, or as in `03-screenshot.png`."""
    if label is None:
        return f"{number:02}-{action}{suffix}"
    return label if label.lower().endswith(suffix) else f"{label}{suffix}"


def short(name: str) -> str:
    """The name without what cannot stand in a file's name, its end kept where it is too long."""
    clean = "".join("_" if character in "/\\" or not character.isprintable() else character for character in name)
    clean = clean.strip().lstrip(".") or "file"
    suffix = PurePath(clean).suffix
    if len(suffix.encode()) > NAME_LIMIT_BYTES // 4:
        suffix = ""
    stem = clean[: len(clean) - len(suffix)]
    while len(f"{stem}{suffix}".encode()) > NAME_LIMIT_BYTES:
        stem = stem[:-1]
    return stem + suffix
