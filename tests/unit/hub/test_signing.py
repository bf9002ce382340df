"""What the hub signs is taken back as it was, and nothing else is."""

from dataclasses import replace

import pytest

from hub.signing import Link, SessionToken, Signer

TOKEN = SessionToken("box-1", "c-1", 7)
LINK = Link("a1", "k-1", 1_700_000_000)


def test_a_token_says_what_was_signed() -> None:
    signer = Signer(b"k" * 32)
    text = signer.token(TOKEN)
    assert text.startswith("ops_")
    assert text.isascii()
    assert signer.read_token(text) == TOKEN
    assert Signer(b"x" * 32).read_token(text) is None


@pytest.mark.parametrize(
    "wrong", ["", ".", "ops_", "ops_.", "ops_e30.", "ops_e30.AAAA", "x" * 5000, "\xff.\xff", "ops_\xff"]
)
def test_what_was_not_signed_is_no_token(wrong: str) -> None:
    assert Signer(b"k" * 32).read_token(wrong) is None


def test_a_token_with_one_character_changed_is_no_token() -> None:
    signer = Signer(b"k" * 32)
    text = signer.token(TOKEN)
    for place in range(len("ops_"), len(text) - 1):
        changed = "A" if text[place] != "A" else "B"
        assert signer.read_token(text[:place] + changed + text[place + 1 :]) is None, place


def test_a_link_is_good_for_what_it_was_made_for_alone() -> None:
    signer = Signer(b"k" * 32)
    signature = signer.signature(LINK)
    assert signer.is_signed(LINK, signature)
    for other in (replace(LINK, artifact_id="a2"), replace(LINK, key_id="k-2"), replace(LINK, expires_s=1_700_000_001)):
        assert not signer.is_signed(other, signature)
    for wrong in ("", "\xff", signature[:-1], signature + "A", signer.token(TOKEN)):
        assert not signer.is_signed(LINK, wrong)
