"""Bad input on the command lines: one clear message with what to do, the right status, no traceback, no secret."""

import shutil
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pysqlite3.dbapi2 as sqlite3
import pytest

from tests.system.command import Done, Operator, call
from tests.system.plant import CUSTOMER, Plant, free_port
from tests.system.program import wait_until
from tests.unit.hub.client.peer import Peer, Reply

SECRET = "s3cr3t-that-nobody-may-see"
LONG = "x" * 300


def assert_said(name: str, done: Done, status: int, says: str) -> None:
    """It ended with one message and one hint on stderr, and nothing else."""
    assert done.status == status, done.err
    assert done.out == b""
    lines = done.err.splitlines()
    assert [line.partition(": ")[0] for line in lines] == [name, "hint"], done.err
    assert says in lines[0]
    assert lines[1] != "hint: "
    assert SECRET not in done.err


@pytest.fixture
def places(shared_plant: Plant, tmp_path: Path) -> dict[str, str]:
    """Folders and addresses that the cases name."""
    file = tmp_path / "file"
    file.write_text("text")
    (tmp_path / "garbage").mkdir()
    (tmp_path / "garbage" / "hub.db").write_bytes(bytes(range(256)) * 40)
    return {
        "fresh": str(tmp_path / "fresh"),
        "file": str(file),
        "unwritable": "/proc/operis",
        "garbage": str(tmp_path / "garbage"),
        "hub": str(shared_plant.hub.data),
        "box": str(shared_plant.boxes[0].data),
        "taken": shared_plant.hub.web,
        "free": f"127.0.0.1:{free_port()}",
    }


@pytest.mark.parametrize(
    ("line", "status", "says"),
    [
        ("", 2, "COMMAND"),
        ("frobnicate", 2, "frobnicate"),
        ("serve", 2, "--data"),
        ("serve --data {fresh} --bogus", 2, "--bogus"),
        ("serve --data {fresh} --relay nonsense", 1, "'nonsense' is not HOST:PORT"),
        ("serve --data {fresh} --web 127.0.0.1:99999", 1, "is not HOST:PORT"),
        ("serve --data {fresh} --relay {free} --web {taken}", 1, "--web {taken} cannot be listened on"),
        ("serve --data {fresh} --relay no-such-host.invalid:80", 1, "--relay no-such-host.invalid:80"),
        ("serve --data {file}", 1, "is not a folder"),
        ("serve --data {unwritable}", 1, "cannot be used"),
        ("serve --data {box}", 1, "is the data folder of a box"),
        ("serve --data {hub}", 1, "another operis-hub serves from"),
        ("serve --data {garbage}", 1, "is not a usable database"),
        ("admin-key --data {garbage}", 1, "is not a usable database"),
        ("customer", 2, "ACTION"),
        ("customer add --data {hub}", 2, "NAME"),
        ("customer add acme --data {hub}", 1, "customer 'acme' exists"),
        (f"customer add {LONG} --data {{hub}}", 1, "1 to 100"),
        ("customer add other --plan gold --data {hub}", 2, "gold"),
        ("customer revoke nobody --data {hub}", 1, "no customer 'nobody'"),
        ("key add --customer nobody --role viewer --data {hub}", 1, "no customer 'nobody'"),
        ("key add --customer acme --role king --data {hub}", 2, "king"),
        ("key revoke nothing --data {hub}", 1, "no key 'nothing'"),
        ("key list --customer nobody --data {hub}", 1, "no customer 'nobody'"),
        ("token add --customer acme --uses 0 --data {hub}", 1, "uses is 0"),
        ("token add --customer acme --uses many --data {hub}", 2, "many"),
        ("token add --customer acme --uses 99999999999999999999 --data {hub}", 1, "uses is"),
        ("token add --customer acme --ttl -1 --data {hub}", 1, "ttl is -1"),
        ("token add --customer acme --ttl nan --data {hub}", 1, "ttl is nan"),
        ("token add --customer acme --box nobody --data {hub}", 1, "no box 'nobody'"),
        ("token revoke nothing --data {hub}", 1, "no token 'nothing'"),
    ],
)
def test_hub_says_what_is_wrong(places: dict[str, str], line: str, status: int, says: str) -> None:
    done = call("operis-hub", *line.format(**places).split())
    assert_said("operis-hub", done, status, says.format(**places))


@pytest.mark.parametrize(
    ("line", "status", "says"),
    [
        ("", 2, "COMMAND"),
        ("frobnicate", 2, "frobnicate"),
        ("run", 2, "--data"),
        ("run --data {fresh} --bogus", 2, "--bogus"),
        ("run --data {fresh} --concurrency many", 1, "concurrency"),
        ("run --data {fresh} --concurrency 0", 1, "concurrency"),
        ("run --data {fresh} --hub http://127.0.0.1:1", 1, "hub: must begin with ws://"),
        ("run --data {fresh} --hub nonsense", 1, "hub: must begin with ws://"),
        ("run --data {fresh} --hub ws://127.0.0.1:99999", 1, "hub: is no address"),
        ("run --data {fresh} --web ws://127.0.0.1:1", 1, "web: must begin with http://"),
        (f"run --data {{fresh}} --web http://user:{SECRET}@host", 1, "web: must begin with"),
        (f"run --data {{fresh}} --name {LONG}", 1, "name"),
        ("run --data {fresh} --task-user nobody-by-this-name", 1, "nobody-by-this-name does not exist"),
        ("run --data {file}", 1, "is not a folder"),
        ("run --data {unwritable}", 1, "cannot be used"),
        ("run --data {hub}", 1, "is the data folder of a hub"),
        ("run --data {box}", 1, "already works in"),
        ("status", 2, "--data"),
        ("status --data {file}", 1, "is not a folder"),
        ("status --data {fresh}", 1, "is not the data folder of a box"),
        ("status --data {hub}", 1, "is not the data folder of a box"),
    ],
)
def test_box_says_what_is_wrong(places: dict[str, str], line: str, status: int, says: str) -> None:
    done = call("operis-box", *line.format(**places).split())
    assert_said("operis-box", done, status, says.format(**places))


@pytest.mark.parametrize(
    ("name", "folder", "text", "says"),
    [
        ("operis-hub", "serve", b"nope = 1\n", "nope"),
        ("operis-hub", "serve", b"relay = 5\n", "relay"),
        ("operis-hub", "serve", b"= [\n", "hub.toml cannot be read"),
        ("operis-hub", "serve", b"\xff\xfe", "hub.toml cannot be read"),
        ("operis-box", "run", b"nope = 1\n", "nope"),
        ("operis-box", "run", b"concurrency = 'many'\n", "concurrency"),
        ("operis-box", "run", b"= [\n", "box.toml cannot be read"),
        ("operis-box", "run", b"\xff\xfe", "box.toml cannot be read"),
    ],
)
def test_settings_file_that_is_wrong_is_named(tmp_path: Path, name: str, folder: str, text: bytes, says: str) -> None:
    (tmp_path / f"{name.removeprefix('operis-')}.toml").write_bytes(text)
    assert_said(name, call(name, folder, "--data", str(tmp_path)), 1, says)


@pytest.mark.parametrize(("name", "command"), [("operis-hub", "serve"), ("operis-box", "run")])
def test_unknown_setting_in_the_environment_is_named_without_its_value(tmp_path: Path, name: str, command: str) -> None:
    variable = f"{name.upper().replace('-', '_')}_BOGUS"
    done = call(name, command, "--data", str(tmp_path), env={variable: SECRET})
    assert_said(name, done, 1, variable)


def test_folder_of_a_newer_version_is_refused_and_left_as_it_is(bare_plant: Plant) -> None:
    bare_plant.start_hub()
    box = bare_plant.start_box()
    bare_plant.hub.stop()
    box.stop(signal.SIGINT)
    connection = sqlite3.connect(bare_plant.hub.database)
    connection.execute("PRAGMA user_version = 999")
    connection.close()
    (box.data / "format").write_text("999\n")
    assert_said("operis-hub", call("operis-hub", "serve", "--data", str(bare_plant.hub.data)), 1, "999")
    assert_said("operis-hub", call("operis-hub", "customer", "list", "--data", str(bare_plant.hub.data)), 1, "999")
    assert_said("operis-box", call("operis-box", "run", "--data", str(box.data)), 1, "newer version")
    connection = sqlite3.connect(bare_plant.hub.database)
    assert connection.execute("SELECT count(*) FROM boxes").fetchone() == (1,)
    connection.close()


@pytest.mark.parametrize("flag", ["unknown", "used up"])
def test_token_that_will_not_do_is_said_and_not_shown(shared_plant: Plant, tmp_path: Path, flag: str) -> None:
    token = SECRET
    if flag == "used up":
        token = shared_plant.token()
        shared_plant.new_box("spare").start("--enrol", token)
        shared_plant.wait_status("spare", "connected")
    flags = ["--hub", shared_plant.relay_url, "--web", shared_plant.url, "--enrol", token]
    done = call("operis-box", "run", "--data", str(tmp_path / "box"), *flags)
    assert done.status == 1
    assert token not in done.err
    assert "Traceback" not in done.err
    message, hint = done.err.splitlines()[-2:]
    assert message.startswith("operis-box: the hub does not take this box: the enrolment token is ")
    assert "operis-hub token add" in hint


@pytest.fixture
def web_server() -> Iterator[Peer]:
    """A web server that is no hub: a page for every path."""
    peer = Peer()
    for method, path in (("POST", "enrol"), ("GET", "boxes")):
        peer.tell(method, path, Reply(200, b"<html>hello", {"Content-Type": "text/html"}))
    try:
        yield peer
    finally:
        peer.close()


def test_box_at_a_web_server_that_is_no_hub_says_so_and_stays(bare_plant: Plant, web_server: Peer) -> None:
    box = bare_plant.new_box()
    box.launch(
        ["run", "--data", str(box.data), "--hub", bare_plant.relay_url, "--web", web_server.url, "--enrol", SECRET]
    )
    wait_until("a word about it", lambda: f'error="{web_server.url}' in box.said())
    status = box.status()
    assert status["running"]
    assert web_server.url in status["link"]["error"]
    assert SECRET not in box.said()
    assert "Traceback" not in box.said()
    assert SECRET not in call("operis-box", "status", "--data", str(box.data)).text


def test_box_whose_hub_is_down_says_so_and_stays(bare_plant: Plant) -> None:
    box = bare_plant.new_box()
    box.start("--enrol", SECRET)
    wait_until("a word about it", lambda: "does not answer: Connection refused" in box.said())
    assert box.status()["running"]
    assert "Traceback" not in box.said()


def test_operator_at_a_hub_that_is_down_or_none(shared_plant: Plant, web_server: Peer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        down = f"127.0.0.1:{listening.getsockname()[1]}"
    for url, says in (
        (f"http://{down}", f"connection refused by {down}"),
        (web_server.url, "a web page: this is no Operis hub"),
        (f"https://{shared_plant.hub.web}", "does not speak TLS"),
        (shared_plant.relay_url, "is the address of a relay"),
        (shared_plant.hub.web, "has no scheme"),
    ):
        status = 2 if "://" not in url or url.startswith("ws") else 1
        assert_said("operis", call("operis", "--hub", url, "--key", SECRET, "boxes"), status, says)


def test_operator_at_the_relays_port_is_shown_the_web_port(shared_plant: Plant) -> None:
    done = call("operis", "--hub", f"http://{shared_plant.hub.relay}", "--key", SECRET, "boxes")
    assert_said("operis", done, 1, "there is no path")
    assert "this is the relay" in done.err
    assert "web port" in done.err


def test_operator_with_a_key_that_will_not_do(shared_plant: Plant) -> None:
    url = shared_plant.url
    assert_said("operis", call("operis", "--hub", url, "--key", SECRET, "boxes"), 1, "key")
    assert_said("operis", call("operis", "--hub", url, "boxes"), 2, "no key is given")
    made = shared_plant.platform.post("keys", {"customer": CUSTOMER, "role": "operator"})
    env = {"OPERIS_HUB": url, "OPERIS_KEY": made["key"]}
    assert call("operis", "boxes", env=env).status == 0
    call("operis-hub", "key", "revoke", made["id"], "--data", str(shared_plant.hub.data))
    done = wait_until("the key revoked", lambda: one if (one := call("operis", "boxes", env=env)).status else None)
    assert isinstance(done, Done)
    assert_said("operis", done, 1, "key")
    assert made["key"] not in done.err


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["box", "box-l"], 1, "no box 'box-l'"),
        (["run", "box-l", "--", "true"], 255, "no box 'box-l'"),
        (["task", "nothing"], 1, "no task 'nothing'"),
        (["cancel", "nothing"], 1, "no task 'nothing'"),
        (["logs", "nothing", "-f"], 1, "no task 'nothing'"),
        (["run", "box-1", "--timeout", "0", "--", "true"], 255, "--timeout"),
        (["run", "box-1", "--timeout", "nan", "--", "true"], 255, "--timeout"),
        (["run", "box-1", "--deliver-within", "1e9", "--", "true"], 255, "--deliver-within"),
        (["run", "box-1", "--cwd", "relative", "--", "true"], 255, "--cwd"),
        (["run", "box-1", "--env", "A-B=1", "--", "true"], 255, "--env A-B"),
        (["run", "box-1", "--", "x" * 100_000, "y" * 100_000, "z" * 100_000], 255, "300098 bytes"),
        (["revoke", "box-1"], 1, "admin"),
        (["release", "box-1", "c"], 1, "admin"),
    ],
)
def test_operator_is_told_by_the_hub_what_is_wrong(
    shared_plant: Plant, arguments: list[str], status: int, says: str
) -> None:
    assert_said("operis", Operator(shared_plant)(*arguments), status, says)
    assert shared_plant.api().get("boxes/box-1")["status"] == "connected"


def test_no_key_and_no_token_is_in_the_logs_or_the_database(shared_plant: Plant) -> None:
    token = shared_plant.token()
    operis = Operator(shared_plant)
    operis("run", "box-1", "--", "true")
    said = shared_plant.logs()
    assert operis.key not in said
    for file in shared_plant.hub.data.glob("hub.db*"):
        content = file.read_bytes()
        assert operis.key.encode() not in content
        assert token.encode() not in content


def test_copy_of_a_running_boxs_folder_is_refused_its_session(plant: Plant) -> None:
    box = plant.boxes[0]
    box.stop(signal.SIGINT)
    copy = plant.new_box("copy")
    shutil.copytree(box.data, copy.data, ignore=shutil.ignore_patterns("*.sock", "lock", "spawner*"))
    box.start()
    plant.wait_status("box-1", "connected")
    copy.launch(["run", "--data", str(copy.data)])
    plant.wait_status("box-1", "quarantined")
    assert "Traceback" not in copy.said()
    text = Operator(plant)("box", "box-1").text
    assert "copies" in text
    assert "operis release box-1 COPY" in text
