"""What the API's paths work with, and how they read a request."""

from dataclasses import dataclass
from typing import Annotated, Any, Final, TypeVar

import pydantic_core
from fastapi import Depends, Request, Response
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.requests import ClientDisconnect

from hub.api.problem import unprocessable
from hub.auth import Auth, bearer
from hub.blobs import Blobs
from hub.dispatch import Dispatch
from hub.errors import Refusal, invalid
from hub.signing import Signer
from hub.store import Store
from hub.tenancy import Principal

# A task's spec fits in one entry of the log (256 KiB); JSON may escape it to a few times its size.
BODY_LIMIT_BYTES: Final = 2 * 1024 * 1024
# What is over the limit is read and thrown away up to here: closing on a client that still sends would reset the
# connection, and with it the answer.
DISCARD_LIMIT_BYTES: Final = 16 * 1024 * 1024
LIST_LIMIT: Final = 500
LIST_DEFAULT: Final = 100
# How often a long answer looks whether its key is still good, and how often it says that it is alive.
RIGHTS_S: Final = 2.0
KEEPALIVE_S: Final = 15.0

Model = TypeVar("Model", bound=BaseModel)


class Body(BaseModel):
    """Base of request bodies: unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)


@dataclass(slots=True)
class Context:
    """The hub's parts, as the paths need them."""

    store: Store
    dispatch: Dispatch
    auth: Auth
    blobs: Blobs
    signer: Signer
    hub_name: str
    draining: bool = False
    uploading: int = 0
    """Uploads that are coming in now."""


def context(request: Request) -> Context:
    """The hub's parts."""
    found: Context = request.app.state.context
    return found


def principal(request: Request) -> Principal:
    """Who asks; 401 otherwise."""
    return context(request).auth.principal(bearer(request.headers.get("authorization")))


Hub = Annotated[Context, Depends(context)]
Who = Annotated[Principal, Depends(principal)]


async def read_body(request: Request) -> bytes:
    """The body, up to its limit; 413 above."""
    declared = request.headers.get("content-length", "0")
    size = 0
    parts: list[bytes] = []
    if not declared.isdigit() or (len(declared) < 10 and int(declared) <= DISCARD_LIMIT_BYTES):
        try:
            async for part in request.stream():
                size += len(part)
                if size <= BODY_LIMIT_BYTES:
                    parts.append(part)
                elif size > DISCARD_LIMIT_BYTES:
                    break
        except ClientDisconnect as error:  # nobody is there to read the answer
            raise Refusal(400, "cut_off", "the request ended before its body did", hint="send it again") from error
    else:
        size = DISCARD_LIMIT_BYTES
    if size > BODY_LIMIT_BYTES:
        raise Refusal(
            413, "too_large", f"the body is larger than {BODY_LIMIT_BYTES} bytes", hint="send less in one request"
        )
    return b"".join(parts)


async def read_model(request: Request, model: type[Model], *, empty: bool = False) -> Model:
    """The body as a model; 400 where it is no JSON, 422 where a field is wrong. `empty`: none is the same as {}."""
    body = await read_body(request) or (b"{}" if empty else b"")
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise refused_body(error) from error


def refused_body(error: ValidationError) -> Refusal:
    """400 or 422 for a body that a model refused."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    if first["type"] == "json_invalid":
        return Refusal(400, "not_json", f"the body is not JSON: {first['msg']}", hint="send a JSON object as the body")
    return unprocessable(error, "the body")


def reply(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON response."""
    return Response(encode(value), status, headers, "application/json")


def encode(value: Any) -> bytes:
    """JSON; a number that JSON cannot write, which a box may have sent, is null."""
    return pydantic_core.to_json(value, inf_nan_mode="null")


def number(request: Request, name: str, default: int, low: int, high: int) -> int:
    """An integer of the query."""
    text = request.query_params.get(name)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 12 or not low <= int(text) <= high:
        raise invalid(
            f"query: {name} is '{text[:40]}'",
            [{"field": name, "message": "not allowed", "allowed": f"{low} to {high}"}],
        )
    return int(text)


def known_query(request: Request, *names: str) -> None:
    """422 for a query parameter that the path does not have."""
    for name in request.query_params:
        if name not in names:
            allowed = list(names)
            raise invalid(f"query: unknown parameter '{name[:40]}'", [{"field": name[:40], "allowed": allowed}])


def choice(request: Request, name: str, allowed: tuple[str, ...]) -> str | None:
    """A word of the query out of those allowed."""
    text = request.query_params.get(name)
    if text is not None and text not in allowed:
        raise invalid(f"query: {name} is '{text[:40]}'", [{"field": name, "allowed": list(allowed)}])
    return text


def page(items: list[Any], after: str | None) -> dict[str, Any]:
    """A list as the contract has it."""
    return {"items": items, "next": after}


def filters(pairs: dict[str, Any]) -> tuple[str, list[Any]]:
    """A WHERE clause of column names from this program and values from a caller."""
    given = {column: value for column, value in pairs.items() if value is not None}
    clause = " AND ".join(f"{column} = ?" for column in given)
    return (f"WHERE {clause}" if clause else ""), list(given.values())


def wanted_customer(request: Request) -> str | None:
    """The id to list by: of the customer that the query names, as far as the key may see it; '' where none is left."""
    who = principal(request)
    name = request.query_params.get("customer")
    if name is None:
        return who.customer_id
    rows = context(request).store.read_now("SELECT id FROM customers WHERE name = ? OR id = ?", (name, name))
    return next((row["id"] for row in rows if who.customer_id in {None, row["id"]}), "")
