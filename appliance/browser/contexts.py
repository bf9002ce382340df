"""Browser contexts for tasks: some made ahead while nothing else is to do, the others as a task asks for them."""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from playwright.async_api import Browser, BrowserContext, Error, Playwright, ProxySettings
from pydantic import BaseModel, ValidationError

from appliance.browser.allow import AllowPolicy
from appliance.browser.dial import Upstream
from appliance.browser.errors import BrowserStuck, ContextRefused
from appliance.browser.guard import Guard
from appliance.browser.proxy import FilterProxy
from cloudsync.complaint import complaints
from cloudsync.spec import BrowserRun, ErrorBody, UpstreamProxy
from cloudsync.variables import fill, fill_text, secrets_in

Kind = TypeVar("Kind", bound=BaseModel)

log = logging.getLogger(__name__)

VIEWPORT: Final = {"width": 1280, "height": 720}
# A context that takes longer to be made or closed will not be: the browser is replaced.
MAKE_LIMIT_S: Final = 20.0
CLOSE_LIMIT_S: Final = 5.0
# Of a call that names no deadline of its own.
CALL_LIMIT_MS: Final = 30_000
# Loopback too goes through the proxy, which Chromium would else leave out.
BYPASS: Final = "<-loopback>"
# Of a context that no task has yet.
NOTHING: Final = AllowPolicy()


@dataclass(frozen=True, slots=True, eq=False)
class Fresh:
    """A context that no task has used yet, with one blank page open and its trace begun."""

    context: BrowserContext
    proxy: FilterProxy
    guard: Guard
    crashed: asyncio.Event
    """Set where a page of it has crashed."""


class Contexts:
    """Keeps `ahead` contexts ready. `BrowserStuck` where the browser does not answer."""

    def __init__(self, playwright: Playwright, browser: Browser, ahead: int) -> None:
        self._playwright = playwright
        self._browser = browser
        self._ahead = ahead
        self._ready: list[Fresh] = []

    async def make_one_ahead(self) -> bool:
        """Make one that is missing; whether another one is."""
        if len(self._ready) < self._ahead:
            self._ready.append(await self._make({}, NOTHING))
        return len(self._ready) < self._ahead

    async def take(self, spec: BrowserRun, state_file: str | None, secrets: Mapping[str, str]) -> Fresh:
        """A context as a task wants it; `ContextRefused` where there can be none."""
        missing = sorted(secrets_in(spec) - secrets.keys())
        if missing:
            message = f"the box has no secret {', '.join(missing[:10])}"
            raise ContextRefused(ErrorBody(code="unknown_secret", message=message, hint=_UNKNOWN_HINT))
        options = self._options(spec, secrets)
        if state_file is not None:
            options["storage_state"] = state_file
        policy = AllowPolicy.of(spec.allow)
        if options or spec.proxy is not None:
            try:
                upstream = self._upstream(spec.proxy, secrets)
                return await self._make(options, policy, upstream)
            except Error as error:
                if _tells_of_end(error):
                    raise
                message = f"the browser cannot be as the task wants it: {error.message.splitlines()[0]}"
                raise ContextRefused(ErrorBody(code="context_refused", message=message, hint=_CONTEXT_HINT)) from error
        while self._ready:
            fresh = self._ready.pop()
            if not fresh.crashed.is_set():
                fresh.proxy.policy = policy
                return fresh
            await self.close(fresh)
        return await self._make({}, policy)

    async def close(self, fresh: Fresh) -> None:
        """Close it with its pages, and never a page alone, which can hang (playwright#42068).

        Nothing in it reaches anything any more, even where it does not close: then `BrowserStuck`.
        """
        try:
            async with asyncio.timeout(CLOSE_LIMIT_S):
                await fresh.context.close()
        except TimeoutError:
            raise BrowserStuck("a context does not close") from None
        except Error as error:
            # The browser is gone, which is told elsewhere.
            log.debug("a context was gone", extra={"error": error.message})
        finally:
            await fresh.proxy.close()

    async def _make(self, options: Mapping[str, Any], policy: AllowPolicy, upstream: Upstream | None = None) -> Fresh:
        try:
            return await self._make_once(options, policy, upstream)
        except Error as error:
            if "crashed" not in error.message:
                raise
            # Its process died young, which says nothing of the next one's.
            return await self._make_once(options, policy, upstream)

    async def _make_once(
        self, options: Mapping[str, Any], policy: AllowPolicy, upstream: Upstream | None = None
    ) -> Fresh:
        proxy = await FilterProxy.start(policy, upstream=upstream)
        server: ProxySettings = {"server": proxy.server, "bypass": BYPASS}
        context = None
        try:
            async with asyncio.timeout(MAKE_LIMIT_S):
                context = await self._browser.new_context(**{"viewport": VIEWPORT, **options}, proxy=server)
                context.set_default_timeout(CALL_LIMIT_MS)
                await context.tracing.start()
                page = await context.new_page()
        except TimeoutError:
            await proxy.close()
            raise BrowserStuck("the browser makes no context") from None
        except Error:
            if context is not None:
                with suppress(Error, TimeoutError):
                    async with asyncio.timeout(CLOSE_LIMIT_S):
                        await context.close()
            await proxy.close()
            raise
        fresh = Fresh(context, proxy, Guard(context), asyncio.Event())
        page.on("crash", lambda _: fresh.crashed.set())
        return fresh

    @staticmethod
    def _upstream(proxy: UpstreamProxy | None, secrets: Mapping[str, str]) -> Upstream | None:
        if proxy is None:
            return None
        try:
            filled = _filled("proxy", proxy, secrets)
            return Upstream.of(filled.server, filled.username, filled.password)
        except ValueError as error:
            raise ContextRefused(
                ErrorBody(code="context_refused", message=f"proxy: {error}", hint=_CONTEXT_HINT)
            ) from error

    def _options(self, spec: BrowserRun, secrets: Mapping[str, str]) -> dict[str, Any]:
        """The options of Playwright's `new_context` that a task asks for; none where any context will do."""

        def text(value: str | None) -> str | None:
            return None if value is None else fill_text(value, {}, secrets)

        options: dict[str, Any] = {}
        if spec.device is not None:
            options |= self._device(text(spec.device) or "")
        if spec.viewport is not None:
            options["viewport"] = {"width": spec.viewport.width, "height": spec.viewport.height}
        if spec.geolocation is not None:
            options["geolocation"] = spec.geolocation.model_dump()
            options["permissions"] = ["geolocation"]
        if spec.http_credentials is not None:
            options["http_credentials"] = _filled("http_credentials", spec.http_credentials, secrets).model_dump()
        if spec.headers is not None:
            options["extra_http_headers"] = {name: text(value) for name, value in spec.headers.items()}
        for option, value in (
            ("locale", text(spec.locale)),
            ("timezone_id", text(spec.timezone)),
            ("user_agent", text(spec.user_agent)),
        ):
            if value is not None:
                options[option] = value
        return options

    def _device(self, name: str) -> dict[str, Any]:
        try:
            device = dict(self._playwright.devices[name])
        except KeyError:
            message = f"there is no device '{name[:64]}'"
            hint = "Use a name of Playwright's list of devices, as in 'iPhone 15' or 'Pixel 7'."
            raise ContextRefused(ErrorBody(code="context_refused", message=message, hint=hint)) from None
        device.pop("default_browser_type", None)
        return device


def _filled(field: str, part: Kind, secrets: Mapping[str, str]) -> Kind:
    """The field with its secrets; `ContextRefused`, which does not name them, where it does not take them."""
    try:
        return fill(part, {}, secrets)
    except ValidationError as wrong:
        said = "; ".join(str(complaint) for complaint in complaints(wrong, 3))
        message = f"{field} does not take what was filled in: {said}"
        raise ContextRefused(ErrorBody(code="context_refused", message=message, hint=_CONTEXT_HINT)) from None


def _tells_of_end(error: Error) -> bool:
    """Whether it is the browser's end that is told, and nothing that the task asked for."""
    return "closed" in error.message.lower()


_UNKNOWN_HINT: Final = "Give the box that secret ([secrets] in box.toml, or its credentials), or correct the name."
_CONTEXT_HINT: Final = "Correct the field that it names, and run the task again."
