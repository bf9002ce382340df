"""A box's key: Ed25519, made on the box, never leaving it (RFC 8032)."""

import base64
import json

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from cloudsync.messages import Hello


def new_key() -> bytes:
    """A fresh private key as its 32 raw bytes."""
    return Ed25519PrivateKey.generate().private_bytes_raw()


def public_key(private: bytes) -> str:
    """The public half, base64."""
    return base64.b64encode(Ed25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()).decode()


def is_public_key(text: str) -> bool:
    """Whether `text` is a public key as `public_key` writes it."""
    try:
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(text, validate=True))
    except ValueError:
        return False
    # Base64 can write the same bytes in several ways, but a box is known by one text.
    return base64.b64encode(key.public_bytes_raw()).decode() == text


def _signed_bytes(hello: Hello, nonce: str, hub: str) -> bytes:
    # As the wire carries it, less what has its default: an end that is older or newer by a field gets the same bytes.
    rest = json.loads(hello.model_dump_json(exclude={"protocol", "signature"}, exclude_defaults=True))
    signed = [nonce, hub, hello.protocol, rest]
    return json.dumps(signed, sort_keys=True, separators=(",", ":")).encode()


def sign(hello: Hello, private: bytes, *, nonce: str, hub: str) -> Hello:
    """The hello with its signature over nonce, hub name and everything else in it."""
    signature = Ed25519PrivateKey.from_private_bytes(private).sign(_signed_bytes(hello, nonce, hub))
    return hello.model_copy(update={"signature": base64.b64encode(signature).decode()})


def verify(hello: Hello, public: str, *, nonce: str, hub: str) -> bool:
    """Whether the holder of `public`'s private half signed this hello for this nonce and hub."""
    try:
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public, validate=True))
        key.verify(base64.b64decode(hello.signature, validate=True), _signed_bytes(hello, nonce, hub))
    except (InvalidSignature, ValueError):
        return False
    return True
