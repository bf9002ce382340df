"""A task's JSON for people."""

from typing import Any

import pytest

from cloudsync.terminal import task as shown, times

TASK: dict[str, Any] = {
    "id": "t-1",
    "box_id": "box-1",
    "kind": "bash.exec",
    "spec": {"kind": "bash.exec", "command": "echo\nhi", "timeout_s": 60.0},
    "origin": "local",
    "created_by": "root",
    "state": "failed",
    "attempt": 1,
    "created_at": "2026-01-02T03:04:05.000Z",
    "started_at": "2026-01-02T03:04:05.010Z",
    "ended_at": "2026-01-02T03:04:06.510Z",
    "exit_code": 3,
    "stdout": "out\x1b[2J\n",
    "stderr": "",
    "error": None,
}
NOW = times.parse("2026-01-02T03:05:05.000Z") or 0.0


def test_list_has_a_line_a_task(capsys: pytest.CaptureFixture[str]) -> None:
    shown.print_tasks([TASK, {"id": "t-2", "state": "queued", "delivery": "sent"}], NOW)
    title, first, second = capsys.readouterr().out.splitlines()
    assert title.split() == ["TASK", "BOX", "STATE", "EXIT", "AGE", "RAN", "COMMAND"]
    assert first.split() == ["t-1", "box-1", "failed", "3", "1", "min", "1.5", "s", "echo", "hi"]
    assert second.split()[:3] == ["t-2", "None", "sent"]


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({"command": "ls"}, "ls"),
        (
            {
                "steps": [
                    {"action": "goto", "url": "http://a"},
                    {"action": "click", "selector": "#b"},
                    {"action": "pdf"},
                ]
            },
            "goto http://a → click #b → pdf",
        ),
        ({"steps": [3]}, "?"),
        ({}, "bash.exec"),
        (None, "bash.exec"),
    ],
)
def test_command_is_what_it_was_asked_to_do(spec: Any, text: str) -> None:
    assert shown.command_of({"kind": "bash.exec", "spec": spec}) == text


def test_one_task_is_shown_with_its_moments_and_output(capsys: pytest.CaptureFixture[str]) -> None:
    moments = [("made", TASK["created_at"]), ("synced", None), ("ended", TASK["ended_at"])]
    shown.print_task(TASK, shown.fields_of(TASK), moments)
    text = capsys.readouterr().out
    assert "state    failed, exit code 3\n" in text
    assert "made by  root (local)\n" in text
    assert "+1510 ms" in text
    assert "synced" not in text
    assert text.endswith("stdout:\nout\N{REPLACEMENT CHARACTER}[2J\n")
