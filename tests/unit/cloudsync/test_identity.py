"""A box's key, and what its signature covers."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given, strategies as st

from cloudsync import messages
from cloudsync.identity import is_public_key, new_key, public_key, sign, verify
from cloudsync.messages import Hello

KEY = bytes(range(32))
PUBLIC = public_key(KEY)
HELLO = Hello(box_id="b", incarnation="i", session=3, last=2, command_seq=1, event_seq=4, inventory={"cpu": None})

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def over_the_wire(hello: Hello) -> Hello:
    """What the hub reads of it."""
    received = messages.decode_from_box(messages.encode(hello))
    assert isinstance(received, Hello)
    return received


def verified(hello: Hello, *, public: str = PUBLIC, nonce: str = "n", hub: str = "h") -> bool:
    return verify(hello, public, nonce=nonce, hub=hub)


def test_a_signed_hello_is_verified_after_the_wire() -> None:
    assert verified(over_the_wire(sign(HELLO, KEY, nonce="n", hub="h")))


@given(
    inventory=st.dictionaries(st.text(), json_values, max_size=4), box_id=st.text(), now_ms=st.integers(0, 2**63 - 1)
)
def test_a_signature_holds_whatever_the_hello_says(inventory: dict[str, Any], box_id: str, now_ms: int) -> None:
    hello = HELLO.model_copy(update={"inventory": inventory, "box_id": box_id, "now_ms": now_ms})
    assert verified(over_the_wire(sign(hello, KEY, nonce="n", hub="h")))


CHANGES: dict[str, object] = {
    "box_id": "c",
    "protocol": 2,
    "incarnation": "j",
    "session": 4,
    "last": 3,
    "command_seq": 2,
    "event_seq": 5,
    "acked_event_seq": 1,
    "desired": "d",
    "boot_id": "e",
    "hwid": "f",
    "now_ms": 1,
    "inventory": {"cpu": 1},
}


def test_each_field_of_a_hello_is_changed_below() -> None:
    assert {*CHANGES, "type", "signature"} == set(Hello.model_fields)


@pytest.mark.parametrize("field", CHANGES)
def test_a_signature_covers_the_field(field: str) -> None:
    signed = sign(HELLO, KEY, nonce="n", hub="h")
    assert not verified(over_the_wire(signed.model_copy(update={field: CHANGES[field]})))


def test_a_signature_is_for_one_nonce_one_hub_and_one_key() -> None:
    signed = sign(HELLO, KEY, nonce="n", hub="h")
    assert not verified(signed, nonce="m")
    assert not verified(signed, hub="g")
    assert not verified(signed, public=public_key(bytes(32)))


def test_nonce_and_hub_cannot_be_shifted_into_each_other() -> None:
    assert not verified(sign(HELLO, KEY, nonce="ab", hub="c"), nonce="a", hub="bc")


def test_what_a_newer_box_says_more_is_verified_and_covered() -> None:
    newer = Hello.model_validate({**HELLO.model_dump(), "radio": {"dbm": -60}})
    received = over_the_wire(sign(newer, KEY, nonce="n", hub="h"))
    assert verified(received)
    frame = json.loads(messages.encode(received)) | {"radio": {"dbm": -50}}
    assert not verified(over_the_wire(Hello.model_validate(frame)))


class NewerHello(Hello):
    """As a later version could define it."""

    protocol: int = 2
    radio: str = ""


def test_an_end_that_knows_a_field_more_verifies_an_older_one() -> None:
    frame = messages.encode(sign(HELLO, KEY, nonce="n", hub="h"))
    assert verified(NewerHello.model_validate_json(frame))
    assert not verified(NewerHello.model_validate_json(frame).model_copy(update={"radio": "x"}))


@pytest.mark.parametrize("signature", ["", "x", "AAAA", "é", base64.b64encode(bytes(64)).decode()])
def test_what_is_no_signature_verifies_nothing(signature: str) -> None:
    assert not verified(HELLO.model_copy(update={"signature": signature}))


def test_a_key_that_is_none_verifies_nothing() -> None:
    assert not verified(sign(HELLO, KEY, nonce="n", hub="h"), public="AAAA")


def test_each_new_key_is_another_and_has_32_bytes() -> None:
    first, second = new_key(), new_key()
    assert first != second
    assert len(first) == len(second) == 32


def test_a_public_key_is_recognised_in_the_one_way_it_is_written() -> None:
    assert is_public_key(PUBLIC)
    raw = base64.b64decode(PUBLIC)
    # The last digit before the padding has two bits that mean nothing.
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    again = PUBLIC[:-2] + alphabet[alphabet.index(PUBLIC[-2]) + 1] + "="
    assert base64.b64decode(again) == raw
    assert not is_public_key(again)


@pytest.mark.parametrize("text", ["", "AAAA", "é" * 44, "A" * 44, PUBLIC + "\n", " " + PUBLIC, PUBLIC[:-1]])
def test_what_is_no_public_key_is_not_taken_for_one(text: str) -> None:
    assert not is_public_key(text)
