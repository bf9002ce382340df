"""The address and the key are checked before anything is sent."""

import pytest

from hub.client.address import Address, read_address
from hub.client.errors import Misuse

KEY = "a-key"


@pytest.mark.parametrize(
    ("url", "base", "place"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080", "127.0.0.1:8080"),
        ("http://hub/", "http://hub", "hub:80"),
        (" HTTPS://hub.example ", "https://hub.example", "hub.example:443"),
        ("https://hub/under/here/", "https://hub/under/here", "hub:443"),
        ("http://[::1]:8080", "http://[::1]:8080", "[::1]:8080"),
    ],
)
def test_address_is_read_without_its_last_slash_and_with_its_port(url: str, base: str, place: str) -> None:
    assert read_address(url, KEY) == Address(base, place, KEY)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        (None, "no hub is named"),
        ("", "no hub is named"),
        ("127.0.0.1:8080", "has no scheme"),
        ("hub", "has no scheme"),
        ("ws://127.0.0.1:8443/relay", "is for boxes"),
        ("ftp://hub", "scheme 'ftp'"),
        ("http://", "names no host"),
        ("http://hub:99999", "is no address"),
        ("http://hub:port", "is no address"),
        ("http://a b", "names no host"),
        ("http://[::1", "is no address"),
        ("http://user:secret@hub", "more than scheme, host, port and path"),
        ("http://hub/?apiKey=secret", "more than scheme, host, port and path"),
    ],
)
def test_address_that_is_none_is_refused_and_says_what_to_write(url: str | None, says: str) -> None:
    with pytest.raises(Misuse, match=says) as caught:
        read_address(url, KEY)
    assert caught.value.hint
    assert "secret" not in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize("url", ["user:secret@hub", "hub?apiKey=secret", "ws://user:secret@hub/relay?apiKey=secret"])
def test_secret_in_an_address_is_not_repeated(url: str) -> None:
    with pytest.raises(Misuse) as caught:
        read_address(url, KEY)
    assert "secret" not in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize("key", [None, "", " ", "two words", "b\N{LATIN SMALL LETTER A WITH ACUTE}d", "line\nline"])
def test_key_that_can_be_none_is_refused_without_showing_it(key: str | None) -> None:
    with pytest.raises(Misuse, match="key") as caught:
        read_address("http://hub", key)
    assert not key or not key.strip() or key not in str(caught.value)


def test_key_is_not_in_the_address_as_it_is_shown() -> None:
    assert KEY not in repr(read_address("http://hub", KEY))
