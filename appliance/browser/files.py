"""The files that a task keeps: where each lies in the attempt's folder, and the name it goes by."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cloudsync.labels import RESERVED, folded, label

MEDIA_TYPES: Final = {
    ".png": "image/png",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".pdf": "application/pdf",
}
OTHER_MEDIA_TYPE: Final = "application/octet-stream"


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
        """Keep what lies there under a name; one that is taken, or is for what the box leaves, gets a number."""
        taken = RESERVED | {folded(file.name) for file in self.kept}
        file = ArtifactFile(label(name, taken), media_type, path)
        self.kept.append(file)
        return file

    def find(self, name: str) -> ArtifactFile | None:
        """The file of that name."""
        return next((file for file in self.kept if file.name == name), None)


def name_of(number: int, action: str, label: str | None, suffix: str) -> str:
    """The name of a step's file: its label with the suffix, or as in `03-screenshot.png`."""
    if label is None:
        return f"{number:02}-{action}{suffix}"
    return label if label.lower().endswith(suffix) else f"{label}{suffix}"
