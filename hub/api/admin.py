"""Paths of customers, keys and tokens."""

from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from cloudsync.view import instant, when
from hub import tenancy
from hub.api.context import (
    LIST_DEFAULT,
    LIST_LIMIT,
    Body,
    Context,
    choice,
    context,
    filters,
    known_query,
    number,
    page,
    principal,
    read_model,
    reply,
    wanted_customer,
)
from hub.api.problem import responses
from hub.api.tasks import LIST_PARAMETERS, parameter
from hub.auth import require
from hub.dispatch import now_ms
from hub.errors import forbidden, invalid
from hub.store import Connection, Row
from hub.tenancy import DEFAULT_PLAN, TOKEN_TTL_S, Principal, Role

router = APIRouter(tags=["administration"])


class NewCustomer(Body):
    """A customer to add."""

    name: str
    plan: str = DEFAULT_PLAN


class NewKey(Body):
    """An API key to make. `customer` is for the platform admin."""

    role: str
    customer: str | None = None


class NewToken(Body):
    """An enrolment token to make. `customer` is for the platform admin; `box_id` re-enrols it on other hardware."""

    uses: int = 1
    ttl_s: float = TOKEN_TTL_S
    box_id: str | None = None
    customer: str | None = None


class CustomerView(BaseModel):
    """A customer."""

    id: str
    name: str
    plan: str
    created_at: str
    revoked_at: str | None


class KeyView(BaseModel):
    """An API key, without the key."""

    id: str
    role: str
    customer_id: str | None
    created_at: str
    revoked_at: str | None
    key: str | None = None
    """Only in the answer that made it."""


class TokenView(BaseModel):
    """An enrolment token, without the token."""

    id: str
    customer_id: str
    uses_left: int
    expires_at: str | None
    box_id: str | None
    created_at: str
    revoked_at: str | None
    token: str | None = None
    """Only in the answer that made it."""


def customer_view(row: Row) -> dict[str, Any]:
    """A customer as it is shown."""
    return {
        "id": row["id"],
        "name": row["name"],
        "plan": row["plan"],
        "created_at": instant(row["created_at"]),
        "revoked_at": when(row["revoked_at"]),
    }


def key_view(row: Row) -> dict[str, Any]:
    """A key as it is shown: never its secret."""
    return {
        "id": row["id"],
        "role": row["role"],
        "customer_id": row["customer_id"],
        "created_at": instant(row["created_at"]),
        "revoked_at": when(row["revoked_at"]),
    }


def token_view(row: Row) -> dict[str, Any]:
    """A token as it is shown: never its secret."""
    return {
        "id": row["id"],
        "customer_id": row["customer_id"],
        "uses_left": row["uses_left"],
        "expires_at": when(row["expires_at"]),
        "box_id": row["box_id"],
        "created_at": instant(row["created_at"]),
        "revoked_at": when(row["revoked_at"]),
    }


def _body(model: type[BaseModel]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": model.model_json_schema()}}}}


async def _list(request: Request, table: str, pairs: dict[str, Any], *more: str) -> tuple[list[Row], str | None]:
    known_query(request, "limit", "cursor", *more)
    limit = number(request, "limit", LIST_DEFAULT, 1, LIST_LIMIT)
    after = request.query_params.get("cursor", "")
    where, values = filters(pairs)
    clause = f"{where} AND id > ?" if where else "WHERE id > ?"
    query = f"SELECT * FROM {table} {clause} ORDER BY id LIMIT ?"  # noqa: S608

    def read(connection: Connection) -> list[Row]:
        return list(connection.execute(query, (*values, after, limit + 1)))

    rows = await context(request).store.read(read)
    return rows[:limit], rows[limit - 1]["id"] if len(rows) > limit else None


def _administers(hub: Context, who: Principal, customer: str | None) -> str:
    """The customer that a new key or token is for. To its own admin, another customer is as one that is not."""
    require(who, Role.ADMIN)
    if who.customer_id is None:
        if customer is None:
            raise invalid("customer is missing", [{"field": "customer", "message": "the platform admin names it"}])
        return customer
    own = hub.store.read_now("SELECT name FROM customers WHERE id = ?", (who.customer_id,))
    if customer not in {None, who.customer_id, *(row["name"] for row in own)}:
        raise forbidden("the key is another customer's", "leave 'customer' out")
    return who.customer_id


@router.get("/customers", responses=responses(403, 422), openapi_extra={"parameters": LIST_PARAMETERS})
async def list_customers(request: Request) -> Response:
    """Customers; a customer's own admin sees its own."""
    who = principal(request)
    require(who, Role.ADMIN)
    rows, after = await _list(request, "customers", {"id": who.customer_id})
    return reply(page([customer_view(row) for row in rows], after))


@router.post(
    "/customers",
    status_code=201,
    response_model=CustomerView,
    responses=responses(400, 403, 409, 413, 422),
    openapi_extra=_body(NewCustomer),
)
async def add_customer(request: Request) -> Response:
    """Add a customer."""
    require(principal(request), Role.PLATFORM)
    body = await read_model(request, NewCustomer)
    row = await context(request).store.write(lambda c: tenancy.add_customer(c, body.name, body.plan, now_ms()))
    return reply(customer_view(row), 201)


@router.delete("/customers/{name}", response_model=CustomerView, responses=responses(403, 404))
async def revoke_customer(name: str, request: Request) -> Response:
    """Shut a customer out: its keys, tokens and boxes are refused from now on; its records stay."""
    require(principal(request), Role.PLATFORM)
    row = await context(request).store.write(lambda c: tenancy.revoke_customer(c, name, now_ms()))
    return reply(customer_view(row))


@router.get(
    "/keys",
    responses=responses(403, 422),
    openapi_extra={
        "parameters": [
            *LIST_PARAMETERS,
            parameter("customer", {"type": "string"}, "Only keys of this customer, by name or id."),
            parameter("role", {"type": "string", "enum": [str(role) for role in Role]}, "Only keys with this role."),
        ]
    },
)
async def list_keys(request: Request) -> Response:
    """API keys, without their secrets."""
    who = principal(request)
    require(who, Role.ADMIN)
    pairs = {
        "customer_id": wanted_customer(request),
        "role": choice(request, "role", tuple(str(role) for role in Role)),
    }
    rows, after = await _list(request, "keys", pairs, "customer", "role")
    return reply(page([key_view(row) for row in rows], after))


@router.post(
    "/keys",
    status_code=201,
    response_model=KeyView,
    responses=responses(400, 403, 404, 409, 413, 422),
    openapi_extra=_body(NewKey),
)
async def add_key(request: Request) -> Response:
    """Make an API key; it is shown in this answer only."""
    who = principal(request)
    require(who, Role.ADMIN)
    body = await read_model(request, NewKey)
    customer = _administers(context(request), who, body.customer)
    row, key = await context(request).store.write(lambda c: tenancy.add_key(c, customer, body.role, now_ms()))
    return reply(key_view(row) | {"key": key}, 201, {"cache-control": "no-store"})


@router.delete("/keys/{key_id}", response_model=KeyView, responses=responses(403, 404))
async def revoke_key(key_id: str, request: Request) -> Response:
    """Revoke an API key."""
    who = principal(request)
    require(who, Role.ADMIN)
    row = await context(request).store.write(lambda c: tenancy.revoke_key(c, key_id, who.customer_id, now_ms()))
    context(request).auth.forget()
    return reply(key_view(row))


@router.get(
    "/tokens",
    responses=responses(403, 422),
    openapi_extra={
        "parameters": [
            *LIST_PARAMETERS,
            parameter("customer", {"type": "string"}, "Only tokens of this customer, by name or id."),
        ]
    },
)
async def list_tokens(request: Request) -> Response:
    """Enrolment tokens, without their secrets."""
    who = principal(request)
    require(who, Role.ADMIN)
    rows, after = await _list(request, "tokens", {"customer_id": wanted_customer(request)}, "customer")
    return reply(page([token_view(row) for row in rows], after))


@router.post(
    "/tokens",
    status_code=201,
    response_model=TokenView,
    responses=responses(400, 403, 404, 409, 413, 422),
    openapi_extra=_body(NewToken),
)
async def add_token(request: Request) -> Response:
    """Make an enrolment token; it is shown in this answer only."""
    who = principal(request)
    require(who, Role.ADMIN)
    body = await read_model(request, NewToken)
    customer = _administers(context(request), who, body.customer)
    row, token = await context(request).store.write(
        lambda c: tenancy.add_token(c, customer, body.uses, body.ttl_s, body.box_id, now_ms())
    )
    return reply(token_view(row) | {"token": token}, 201, {"cache-control": "no-store"})


@router.delete("/tokens/{token_id}", response_model=TokenView, responses=responses(403, 404))
async def revoke_token(token_id: str, request: Request) -> Response:
    """Revoke an enrolment token."""
    who = principal(request)
    require(who, Role.ADMIN)
    row = await context(request).store.write(lambda c: tenancy.revoke_token(c, token_id, who.customer_id, now_ms()))
    return reply(token_view(row))
