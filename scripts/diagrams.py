"""Draws the state diagrams in docs/diagrams from the tables that the program runs, in Mermaid's notation."""

import argparse
import itertools
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from cloudsync import log, session, task  # noqa: E402

FOLDER: Final = ROOT / "docs" / "diagrams"


@dataclass(frozen=True)
class Diagram:
    """One page: a table as edges of (from, to, label), in an order that never changes."""

    name: str
    title: str
    source: str
    legend: str
    start: str
    ends: frozenset[str]
    edges: tuple[tuple[str, str, str], ...]

    def page(self) -> str:
        """The page's text; all labels between two states stand on one arrow."""
        labels: dict[tuple[str, str], list[str]] = defaultdict(list)
        for here, there, label in self.edges:
            if label not in labels[here, there]:
                labels[here, there].append(label)
        lines = [f"    [*] --> {self.start}"]
        lines += [f"    {here} --> {there}: {', '.join(each)}" for (here, there), each in labels.items()]
        lines += [f"    {end} --> [*]" for end in dict.fromkeys(to for _, to, _ in self.edges) if end in self.ends]
        return (
            f"# {self.title}\n\nDrawn by `scripts/diagrams` from `{self.source}`. {self.legend}\n\n"
            "```mermaid\nstateDiagram-v2\n" + "\n".join(lines) + "\n```\n"
        )


def task_edges() -> Iterator[tuple[str, str, str]]:
    """Each move of a task; the label says who makes it."""
    for (state, sent), movers in task.TRANSITIONS.items():
        for party, targets in movers.items():
            who = party.value if sent else f"{party.value} (unsent)"
            # A set has no order of its own.
            for to in task.TaskState:
                if to in targets:
                    yield state.value, to.value, who


def sender_edges() -> Iterator[tuple[str, str, str]]:
    """Each transition of a sender; which one an input takes, the numbers decide."""
    for state, happened in itertools.product(log.Sending, log.SendInput):
        targets = log.SENDER.get((state, happened), frozenset())
        yield from ((state.value, to.value, happened.value) for to in log.Sending if to in targets)


def receiver_edges() -> Iterator[tuple[str, str, str]]:
    """Each transition of a receiver; which one an input takes, the numbers decide."""
    for state, happened in itertools.product(log.Receiving, log.ReceiveInput):
        targets = log.RECEIVER.get((state, happened), frozenset())
        yield from ((state.value, to.value, happened.value) for to in log.Receiving if to in targets)


def diagrams() -> Iterable[Diagram]:
    """All pages."""
    inputs = "In small letters the peer's messages, in capitals what this end has done."
    yield Diagram(
        name="task",
        title="The life of a task",
        source="cloudsync/task.py",
        legend="On an arrow stands who moves the task; the box's news may skip states.",
        start=task.TaskState.QUEUED.value,
        ends=frozenset(state.value for state in task.FINAL),
        edges=tuple(task_edges()),
    )
    yield Diagram(
        name="sender",
        title="The sending end of a log",
        source="cloudsync/log.py",
        legend="Where an input leads to several states, the numbers decide which.",
        start=log.Sending.DETACHED.value,
        ends=frozenset(),
        edges=tuple(sender_edges()),
    )
    yield Diagram(
        name="receiver",
        title="The receiving end of a log",
        source="cloudsync/log.py",
        legend="Where an input leads to several states, the numbers decide which.",
        start=log.Receiving.SETTLED.value,
        ends=frozenset({log.Receiving.BROKEN.value}),
        edges=tuple(receiver_edges()),
    )
    yield Diagram(
        name="box-session",
        title="A connection at the box",
        source="cloudsync/session.py",
        legend=inputs,
        start=session.Box.AWAITING_CHALLENGE.value,
        ends=frozenset({session.Box.CLOSED.value}),
        edges=tuple((state.value, to.value, happened) for (state, happened), to in session.BOX.items()),
    )
    yield Diagram(
        name="hub-session",
        title="A connection at the hub",
        source="cloudsync/session.py",
        legend=inputs,
        start=session.Hub.AWAITING_HELLO.value,
        ends=frozenset({session.Hub.CLOSED.value}),
        edges=tuple((state.value, to.value, happened) for (state, happened), to in session.HUB.items()),
    )


def main() -> int:
    """Write the pages, or with --check name those that are stale and exit with 1."""
    parser = argparse.ArgumentParser(description="Draws docs/diagrams from the transition tables.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a page is stale")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the pages are, docs/diagrams by default")
    options = parser.parse_args()
    folder: Path = options.folder
    pages = {folder / f"{diagram.name}.md": diagram.page() for diagram in diagrams()}
    held = {path: path.read_text(encoding="utf-8") for path in folder.glob("*.md")}
    if options.check:
        stale = sorted(path.name for path in pages.keys() | held.keys() if pages.get(path) != held.get(path))
        if stale:
            print(f"not as the tables say: {', '.join(stale)}; run scripts/diagrams", file=sys.stderr)
        return 1 if stale else 0
    folder.mkdir(parents=True, exist_ok=True)
    for path in held.keys() - pages.keys():
        path.unlink()
    for path, page in pages.items():
        path.write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
