"""Staying with a task of the hub: what is said where the operator cannot."""

import base64
import subprocess
import sys

from tests.unit.hub.client.peer import KEY, TASK_ID, Peer, ended, event, stream


def test_output_that_cannot_be_written_is_said_and_the_task_goes_on(peer: Peer) -> None:
    data = base64.b64encode(b"out\n").decode()
    output = event("output", {"stream": "stdout", "offset": 0, "data_b64": data})
    peer.tell_run(stream(output, event("end", {"task": ended()})))
    command = f"exec {sys.executable} -m hub.client.cli --hub {peer.url} --key {KEY} run box-1 -- x >/dev/full"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 255
    assert done.stderr.splitlines() == [
        f"operis: the output cannot be written: No space left on device; task {TASK_ID} goes on",
        f"hint: 'operis cancel {TASK_ID}' ends it",
    ]
