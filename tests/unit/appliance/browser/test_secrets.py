"""Secrets in texts and values are found in every form, and replaced by their names."""

import base64
import html
import json
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import assume, given, settings, strategies as st

from appliance.browser.secrets import Redactor, forms

texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=6, max_size=40)


@pytest.mark.parametrize(
    "write",
    [
        str,
        json.dumps,
        lambda text: json.dumps(text, ensure_ascii=False),
        lambda text: json.dumps({"a": json.dumps(text)}),
        html.escape,
        quote,
        quote_plus,
        lambda text: quote(text, safe=""),
        lambda text: quote(text, safe="").lower().replace("%c3", "%C3") if text.isascii() and text.islower() else "",
        lambda text: f"before{text}after",
    ],
)
@settings(deadline=None)
@given(secret=texts)
def test_no_form_of_a_secret_stays(write: Any, secret: str) -> None:
    written = write(secret)
    assume(secret.strip() == secret and "\n" not in secret and "\r" not in secret and len(secret.splitlines()) == 1)
    shown = Redactor({"s": secret}).text(written)
    assert not written or "{{secret:s}}" in shown
    assert secret not in shown.replace("{{secret:s}}", "")


@settings(deadline=None)
@given(
    secret=st.binary(min_size=8, max_size=30).map(lambda data: base64.b85encode(data).decode()),
    before=st.binary(max_size=5),
    after=st.binary(max_size=5),
)
def test_no_base64_of_a_secret_stays_whatever_stands_around_it(secret: str, before: bytes, after: bytes) -> None:
    data = before + secret.encode() + after
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        shown = Redactor({"s": secret}).text(encode(data).decode())
        assert "{{secret:s}}" in shown
        assert len(shown.replace("{{secret:s}}", "")) <= len(base64.b64encode(before + after)) + 8


def test_longer_secret_wins_and_each_has_its_name() -> None:
    redact = Redactor({"short": "abc", "long": "abcdef"})
    assert redact.text("abcdef abc") == "{{secret:long}} {{secret:short}}"


def test_lines_of_a_key_are_found_alone_and_with_other_space() -> None:
    key = "-----BEGIN KEY-----\nMIIBOgIBAAJBAKj34GkxFhD9\nab\n-----END KEY-----\n"
    redact = Redactor({"key": key})
    assert redact.text(" ".join(key.split())) == "{{secret:key}}"
    assert redact.text("x MIIBOgIBAAJBAKj34GkxFhD9 y") == "x {{secret:key}} y"
    assert redact.text("ab") == "ab"


def test_values_are_looked_through_whole() -> None:
    redact = Redactor({"pin": "4711", "word": "geheim"})
    assert redact.value({"geheim!": ["a geheim", 4711, 4711.5, True, None, {"x": ("geheim",)}]}) == {
        "{{secret:word}}!": ["a {{secret:word}}", "{{secret:pin}}", 4711.5, True, None, {"x": ["{{secret:word}}"]}]
    }


def test_without_secrets_nothing_changes() -> None:
    value = {"a": ("b",)}
    assert Redactor({}).value(value) is value
    assert Redactor({"empty": ""}).text("text") == "text"
    assert not Redactor({"empty": ""})
    assert list(forms("")) == []
