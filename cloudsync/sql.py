"""SQL that stands in files: the schemas of a box and of a hub."""

from collections.abc import Iterator


def statements(text: str) -> Iterator[str]:
    """The statements of a file, comments included. Each ends a line with its semicolon: there are no triggers."""
    statement = ""
    for line in text.splitlines(keepends=True):
        statement += line
        if line.partition("--")[0].rstrip().endswith(";"):
            yield statement
            statement = ""
