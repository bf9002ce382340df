"""What a task may ask for, and what is kept of its output."""

import json
from typing import Any

import pytest
from hypothesis import given, strategies as st
from pydantic import ValidationError

from appliance.output import Stream, cut
from cloudsync.complaint import complaints
from cloudsync.spec import (
    BASH_TIMEOUT_S,
    DELIVER_WITHIN_S,
    KINDS,
    MAX_DELIVER_WITHIN_S,
    MAX_TIMEOUT_S,
    SPEC,
    Artifact,
    BashExec,
    BrowserRun,
    ErrorBody,
    Outcome,
    Output,
    Usage,
    encode_spec,
    spec_digest,
)


def spec(**fields: Any) -> BashExec:
    """One as the API reads it."""
    made = SPEC.validate_json(json.dumps({"kind": "bash.exec", "command": "true"} | fields))
    assert isinstance(made, BashExec)
    return made


def browser(**fields: Any) -> BrowserRun:
    """A browser task as the API reads it."""
    steps = [{"action": "goto", "url": "https://example.com"}]
    made = SPEC.validate_json(json.dumps({"kind": "browser.run", "steps": steps} | fields))
    assert isinstance(made, BrowserRun)
    return made


def refusal(**fields: Any) -> str:
    """What is said against it."""
    with pytest.raises(ValidationError) as raised:
        spec(**fields)
    (complaint,) = complaints(raised.value, 5)
    return f"{complaint.field}: {complaint.message}"


def test_a_command_is_all_that_is_needed() -> None:
    made = spec()
    assert (made.stdin, made.env, made.cwd, made.idempotent) == (None, None, None, False)
    assert (made.timeout_s, made.deliver_within_s) == (BASH_TIMEOUT_S, DELIVER_WITHIN_S) == (60.0, 86_400.0)


def test_every_kind_is_known() -> None:
    assert {spec().kind, browser().kind} == set(KINDS)


def test_an_unknown_field_is_refused() -> None:
    assert refusal(comand="x") == "comand: Extra inputs are not permitted"


def test_an_unknown_kind_is_refused() -> None:
    assert refusal(kind="bash.run").startswith("kind: ")


@pytest.mark.parametrize("value", [None, 1, True, ["true"], {}])
def test_a_command_is_text(value: object) -> None:
    assert refusal(command=value) == "command: Input should be a valid string"


def test_an_empty_command_is_refused() -> None:
    assert refusal(command="").startswith("command: ")


@pytest.mark.parametrize(
    "fields", [{"command": "a\0b"}, {"env": {"A": "\0"}}, {"cwd": "/a\0"}], ids=lambda fields: next(iter(fields))
)
def test_what_becomes_an_argument_holds_no_nul(fields: dict[str, Any]) -> None:
    assert "must not contain a NUL character" in refusal(**fields)


def test_standard_input_may_hold_a_nul() -> None:
    assert spec(stdin="a\0b").stdin == "a\0b"


@pytest.mark.parametrize(
    "fields", [{"command": "\ud800"}, {"stdin": "x\udfff"}, {"env": {"A": "\ud800"}}, {"cwd": "/\udc00"}]
)
def test_a_lone_surrogate_is_refused_from_python_too(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"lone surrogates|valid string"):
        SPEC.validate_python({"kind": "bash.exec", "command": "true"} | fields)
    with pytest.raises(ValidationError):
        spec(**fields)


@pytest.mark.parametrize("name", ["A", "_", "a1", "PATH", "_9", "x" * 1000])
def test_an_environment_name_is_taken(name: str) -> None:
    assert spec(env={name: "v"}).env == {name: "v"}


@pytest.mark.parametrize("name", ["", "1A", "A-B", "A=B", "A B", "Ä", "A\n", "A\0", "A٣"])
def test_what_is_no_environment_name_is_refused(name: str) -> None:
    assert refusal(env={name: "v"}).startswith("env.")


@pytest.mark.parametrize("value", [1, None, True])
def test_an_environment_value_is_text(value: object) -> None:
    assert "valid string" in refusal(env={"A": value})


@pytest.mark.parametrize("cwd", ["", "tmp", "./tmp", "~", "~/x"])
def test_a_working_directory_is_absolute(cwd: str) -> None:
    assert "must be an absolute path, as in /var/tmp" in refusal(cwd=cwd)


@pytest.mark.parametrize(("field", "most"), [("timeout_s", MAX_TIMEOUT_S), ("deliver_within_s", MAX_DELIVER_WITHIN_S)])
def test_a_time_is_above_zero_and_at_most_its_limit(field: str, most: float) -> None:
    for allowed in (0.001, 1, most):
        assert getattr(spec(**{field: allowed}), field) == allowed
    for refused in (0, -1, most + 0.001, "60", True, None, float("nan"), float("inf")):
        assert refusal(**{field: refused}).startswith(f"{field}: ")


@pytest.mark.parametrize("value", [1, "true", None])
def test_idempotent_is_a_boolean(value: object) -> None:
    assert refusal(idempotent=value).startswith("idempotent: ")


def test_a_spec_never_changes() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        spec().command = "false"  # type: ignore[misc]


def test_an_encoded_spec_writes_defaults_and_leaves_out_what_is_absent() -> None:
    assert json.loads(encode_spec(spec())) == {
        "kind": "bash.exec",
        "command": "true",
        "timeout_s": 60.0,
        "deliver_within_s": 86_400.0,
        "idempotent": False,
    }


specs = st.builds(
    spec,
    command=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1),
    stdin=st.none() | st.text(),
    timeout_s=st.floats(0.001, MAX_TIMEOUT_S) | st.integers(1, 86_400),
    idempotent=st.booleans(),
)


@given(specs)
def test_an_encoded_spec_reads_back_as_it_was(made: BashExec) -> None:
    assert SPEC.validate_json(encode_spec(made)) == made


@given(specs)
def test_a_digest_looks_through_order_spacing_and_escapes(made: BashExec) -> None:
    encoded = encode_spec(made)
    fields = json.loads(encoded)
    backwards = dict(reversed(list(fields.items())))
    for same in (
        json.dumps(fields, indent=2),
        json.dumps(backwards, ensure_ascii=True),
        json.dumps(backwards, ensure_ascii=False),
    ):
        assert spec_digest(same) == spec_digest(encoded)


def test_a_digest_sees_escaped_and_plain_characters_as_one() -> None:
    assert spec_digest('{"a":"\\u00e4\\ud83d\\ude00\\/"}') == spec_digest('{ "a" : "ä😀/" }')


@given(specs, specs)
def test_specs_that_differ_have_different_digests(first: BashExec, second: BashExec) -> None:
    assert (spec_digest(encode_spec(first)) == spec_digest(encode_spec(second))) is (first == second)


@pytest.mark.parametrize(
    ("one", "other"),
    [('{"a":"1"}', '{"a":1}'), ('{"a":1}', '{"a":true}'), ('{"a":[1,2]}', '{"a":[2,1]}'), ('{"a":"b"}', '{"a":"b "}')],
)
def test_a_digest_tells_values_apart(one: str, other: str) -> None:
    assert spec_digest(one) != spec_digest(other)


@given(st.binary())
def test_output_keeps_any_bytes_exactly_also_over_the_wire(data: bytes) -> None:
    kept = Output.of(data)
    assert kept.data() == data
    assert Output.model_validate_json(kept.model_dump_json(exclude_none=True)).data() == data
    assert kept.total_bytes == len(data)


@given(st.text())
def test_output_that_is_text_is_kept_once(text: str) -> None:
    kept = Output.of(text.encode())
    assert (kept.text, kept.data_b64) == (text, None)


def test_output_that_is_no_text_is_shown_with_replacement_characters() -> None:
    kept = Output.of(b"a\xff\0b")
    assert (kept.text, kept.data_b64) == ("a\ufffd\0b", "Yf8AYg==")


def test_output_that_was_cut_says_from_what() -> None:
    kept = Output.of(b"ab", total_bytes=10, cut_bytes=8)
    assert (kept.total_bytes, kept.cut_bytes) == (10, 8)
    kept = Output.of(b"\xff", total_bytes=10, cut_bytes=9)
    assert (kept.total_bytes, kept.cut_bytes) == (10, 9)


def test_output_of_nothing_is_empty() -> None:
    assert Output.of(b"") == Output()
    assert Output().data() == b""


def test_an_outcome_reads_back_as_it_was() -> None:
    outcome = Outcome(
        exit_code=137,
        stdout=Output.of(b"\xff"),
        error=ErrorBody(code="killed", message="m", hint="h"),
        result={"steps": [None]},
        artifacts=(artifact("a"), artifact("b", name="Überblick 1.png")),
        usage=Usage(cpu_ms=1, max_rss_kb=2),
        ended_at_ms=3,
    )
    assert Outcome.model_validate_json(outcome.model_dump_json(exclude_none=True)) == outcome


def test_the_ends_of_a_cut_output_are_what_lies_around_the_line_about_the_cut() -> None:
    line = "\n[… 7 bytes left out …]\n".encode()
    assert Output.of(b"\xffab" + line + b"cd", total_bytes=12, cut_bytes=7).ends() == (b"\xffab", b"cd")
    assert Output.of(line, total_bytes=7, cut_bytes=7).ends() == (b"", b"")
    assert Output.of(b"a" + line + b"b").ends() == (b"a" + line + b"b", b"")
    assert Output.of(b"no such line", total_bytes=19, cut_bytes=7).ends() == (b"no such line", b"")


@given(st.binary(min_size=200, max_size=2000))
def test_the_ends_of_what_a_box_cuts_are_the_ends_of_what_was_written(data: bytes) -> None:
    output = cut(Stream(data, b"", len(data)), 150)
    head, tail = output.ends()
    assert output.cut_bytes
    assert data.startswith(head)
    assert data.endswith(tail)
    assert len(head) + len(tail) + output.cut_bytes == len(data)


def artifact(artifact_id: str, **more: Any) -> Artifact:
    """An artifact of one byte."""
    fields: dict[str, Any] = {"name": "a.txt", "media_type": "text/plain", "size_bytes": 1, "sha256": "0a" * 32}
    return Artifact(id=artifact_id, **fields | more)


@pytest.mark.parametrize(
    "wrong",
    [
        {"sha256": "../../etc/passwd"},
        {"sha256": "0a" * 32 + "\n"},
        {"sha256": "0A" * 32},
        {"artifact_id": "a/b"},
        {"artifact_id": ""},
        {"size_bytes": -1},
        {"size_bytes": 2**64},
        {"name": ""},
        {"name": "x" * 256},
    ],
)
def test_what_names_files_and_rows_by_an_artifact_may_trust_it(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        artifact(wrong.pop("artifact_id", "a"), **wrong)


def test_what_is_granted_is_read_before_anything_runs() -> None:
    assert browser(allow=["app.lan", "*.lan:8080", "10.0.0.0/8", "::1"]).allow[1] == "*.lan:8080"
    with pytest.raises(ValidationError, match=r"http://app.lan/ is a URL: name the host alone"):
        browser(allow=["http://app.lan/"])
    with pytest.raises(ValidationError, match=r"127.0.0.1 would be"):
        browser(allow=["0177.0.0.1"])
