"""What a task is asked to do and what came of it: the one vocabulary of wire, API, CLI and journal bodies."""

import base64
import hashlib
import json
import re
from enum import StrEnum
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from cloudsync.errors import VariableWrong
from cloudsync.hosts import parse_grant
from cloudsync.step.base import Filled, Part, Pixels, Text
from cloudsync.step.keep import ARTIFACT_LIMIT_MIB, SaveProfile
from cloudsync.steps import Step, Steps
from cloudsync.variables import check_fields, check_variables

BASH_TIMEOUT_S: Final = 60.0
BROWSER_TIMEOUT_S: Final = 120.0
MAX_TIMEOUT_S: Final = 24 * 3600.0
DELIVER_WITHIN_S: Final = 24 * 3600.0
MAX_DELIVER_WITHIN_S: Final = 30 * 24 * 3600.0
ARTIFACT_LIMIT_BYTES: Final = ARTIFACT_LIMIT_MIB * 1024**2
# A task that says it is idempotent is tried this often in all when a crash interrupts it.
MAX_ATTEMPTS: Final = 3

_ENV_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_PROFILE: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}\Z")
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+\Z")


def _no_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not contain a NUL character")
    return text


def _env_name(name: str) -> str:
    if not _ENV_NAME.match(name):
        raise ValueError("an environment name has letters, digits and _ only and does not start with a digit")
    return name


def _absolute(path: str) -> str:
    if not path.startswith("/"):
        raise ValueError("must be an absolute path, as in /var/tmp")
    return path


def _profile(name: str) -> str:
    if not _PROFILE.match(name):
        raise ValueError(
            "a profile's name has letters, digits and _ . - only, at most 64, and begins with no dot or dash"
        )
    return name


def _grant(text: str) -> str:
    parse_grant(text)
    return text


def _header_name(name: str) -> str:
    if not _HEADER_NAME.match(name):
        raise ValueError("a header's name has letters, digits and - only")
    return name


def _header_value(text: str) -> str:
    if any(character in text for character in "\r\n\0"):
        raise ValueError("must not contain a line break or a NUL character")
    return text


Argument = Annotated[Text, AfterValidator(_no_nul)]
EnvName = Annotated[Argument, AfterValidator(_env_name)]
AbsolutePath = Annotated[Argument, AfterValidator(_absolute)]
ProfileName = Annotated[Text, AfterValidator(_profile)]
Grant = Annotated[Text, AfterValidator(_grant)]
HeaderName = Annotated[Text, AfterValidator(_header_name)]
HeaderValue = Annotated[Text, AfterValidator(_header_value)]
DeliverWithin = Annotated[float, Field(gt=0, le=MAX_DELIVER_WITHIN_S, allow_inf_nan=False)]
Timeout = Annotated[float, Field(gt=0, le=MAX_TIMEOUT_S, allow_inf_nan=False)]


class ErrorBody(BaseModel):
    """Why something failed: a stable `code`, a sentence, and what to do about it."""

    model_config = ConfigDict(frozen=True)

    code: str
    message: str
    hint: str = ""


class BashExec(BaseModel):
    """A bash script to run on a box."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)

    kind: Literal["bash.exec"]
    command: Annotated[Argument, Field(min_length=1)]
    """The script, given to `bash -c` as it is."""
    stdin: Text | None = None
    """Standard input as text; without it the task reads an empty one."""
    env: dict[EnvName, Argument] | None = None
    """Environment variables beside the box's own."""
    cwd: AbsolutePath | None = None
    """Working directory; by default the task user's home."""
    timeout_s: Timeout = BASH_TIMEOUT_S
    """Seconds it may run before its whole process tree is ended."""
    deliver_within_s: DeliverWithin = DELIVER_WITHIN_S
    """Seconds within which the box must have it; after that it expires."""
    idempotent: bool = False
    """Whether a box may run it again after a crash interrupted it."""


class Geolocation(Part):
    """Where the browser says that it is."""

    latitude: Annotated[float, Field(ge=-90, le=90)]
    """Degrees north."""
    longitude: Annotated[float, Field(ge=-180, le=180)]
    """Degrees east."""
    accuracy: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Metres."""


class Credentials(Part):
    """What is answered where a site asks for HTTP authentication."""

    username: Text
    """The user's name."""
    password: Text
    """Their password; better `{{secret:NAME}}`."""


class UpstreamProxy(Part):
    """A proxy that the browser's traffic leaves the box by."""

    server: Filled
    """Its address, as in `http://proxy.example:3128`."""
    username: Text | None = None
    """The user's name, where it wants one."""
    password: Text | None = None
    """Their password; better `{{secret:NAME}}`."""


class Viewport(Part):
    """The size of the page's window."""

    width: Pixels
    """In CSS pixels."""
    height: Pixels
    """In CSS pixels."""


def _known_variables(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    try:
        check_variables(steps)
    except VariableWrong as error:
        raise ValueError(str(error)) from error
    return steps


class BrowserRun(BaseModel):
    """Steps to take in a browser on a box. Any text may hold `{{secret:NAME}}`, which the box alone fills in."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)

    kind: Literal["browser.run"]
    steps: Annotated[Steps, AfterValidator(_known_variables)]
    """What to do, one after the other; the first that fails ends the task."""
    allow: Annotated[tuple[Grant, ...], Field(max_length=1000, strict=False)] = ()
    """Hosts, addresses and networks that may be reached beside the public ones: loopback and private ones too."""
    profile: ProfileName | None = None
    """Name of a profile on the box: its cookies and storage are there at the start. One task at a time has it."""
    trace: bool = False
    """Whether a trace for Playwright's viewer is kept; of a task that fails it always is."""
    viewport: Viewport | None = None
    """The window's size; 1280 × 720 by default."""
    device: Filled | None = None
    """A device to appear as, by its name in Playwright, as in `iPhone 15`."""
    locale: Filled | None = None
    """Language and country, as in `de-DE`."""
    timezone: Filled | None = None
    """A time zone, as in `Europe/Berlin`."""
    geolocation: Geolocation | None = None
    """Where the browser says that it is, to pages that ask; without it they are refused."""
    user_agent: Annotated[HeaderValue, Field(min_length=1)] | None = None
    """What the browser calls itself."""
    headers: dict[HeaderName, HeaderValue] | None = None
    """Headers sent with every request."""
    http_credentials: Credentials | None = None
    """What is answered where a site asks for HTTP authentication."""
    proxy: UpstreamProxy | None = None
    """A proxy that the traffic leaves the box by; `allow` holds all the same."""
    timeout_s: Timeout = BROWSER_TIMEOUT_S
    """Seconds it may run before it is ended."""
    deliver_within_s: DeliverWithin = DELIVER_WITHIN_S
    """Seconds within which the box must have it; after that it expires."""
    idempotent: bool = False
    """Whether a box may run it again after a crash interrupted it."""

    @model_validator(mode="after")
    def _together(self) -> Self:
        try:
            check_fields({name: getattr(self, name) for name in type(self).model_fields if name != "steps"})
        except VariableWrong as error:
            raise ValueError(str(error)) from error
        if self.profile is None:
            for number, step in enumerate(self.steps, 1):
                if isinstance(step, SaveProfile):
                    raise ValueError(f"step {number} (save_profile): the task names no profile")
        return self


# A further kind joins here and everything that matches on `kind` must follow.
TaskSpec = Annotated[BashExec | BrowserRun, Field(discriminator="kind")]
SPEC: Final[TypeAdapter[BashExec | BrowserRun]] = TypeAdapter(TaskSpec)
KINDS: Final = ("bash.exec", "browser.run")


def encode_spec(spec: TaskSpec) -> str:
    """The spec as compact JSON: absent fields are left out, defaults are written."""
    return spec.model_dump_json(exclude_none=True)


def spec_digest(spec_json: str) -> str:
    """Tells whether two specs are the same, whatever order and spacing their JSON has."""
    canonical = json.dumps(json.loads(spec_json), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


class Usage(BaseModel):
    """What the task's processes used, as the kernel accounts it."""

    model_config = ConfigDict(frozen=True)

    cpu_ms: int
    max_rss_kb: int


class Output(BaseModel):
    """One stream's bytes as they are kept: text where they are valid UTF-8, else base64 too."""

    model_config = ConfigDict(frozen=True)

    text: str = ""
    """For people: invalid UTF-8 became U+FFFD, a cut is stated on a line of its own."""
    data_b64: str | None = None
    """The exact bytes, only where `text` does not hold them."""
    total_bytes: int = 0
    """How many bytes the task wrote, cut ones included."""
    cut_bytes: int = 0
    """How many of them were left out between head and tail."""

    @classmethod
    def of(cls, data: bytes, *, total_bytes: int | None = None, cut_bytes: int = 0) -> Self:
        """Keep `data`; `total_bytes` and `cut_bytes` say what it was cut from."""
        total = len(data) if total_bytes is None else total_bytes
        try:
            return cls(text=data.decode(), total_bytes=total, cut_bytes=cut_bytes)
        except UnicodeDecodeError:
            encoded = base64.b64encode(data).decode()
            return cls(text=data.decode(errors="replace"), data_b64=encoded, total_bytes=total, cut_bytes=cut_bytes)

    def data(self) -> bytes:
        """The bytes that are kept, exact unless `cut_bytes`."""
        return self.text.encode() if self.data_b64 is None else base64.b64decode(self.data_b64)

    def ends(self) -> tuple[bytes, bytes]:
        """Head and tail without the line between them that states the cut; all is head where there is no such line."""
        if not self.cut_bytes:
            return self.data(), b""
        head, _, tail = self.data().partition(f"\n[… {self.cut_bytes} bytes left out …]\n".encode())
        return head, tail


class StepState(StrEnum):
    """How a step ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"


class StepResult(BaseModel):
    """What came of one step; the task's `result.steps` holds one for each step that the task has."""

    model_config = ConfigDict(frozen=True)

    action: str
    name: str | None = None
    state: StepState
    value: Any = None
    duration_ms: int = 0
    error: ErrorBody | None = None


class Artifact(BaseModel):
    """A file that a task left. `id` is its own in the whole fleet; its bytes are addressed by `sha256`."""

    model_config = ConfigDict(frozen=True)

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    name: Annotated[str, Field(min_length=1, max_length=255)]
    """A label, unlike that of any other artifact of the task. Whoever makes a file name of it must see to that."""
    media_type: Annotated[str, Field(max_length=127)]
    size_bytes: Annotated[int, Field(ge=0, le=2**53)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Outcome(BaseModel):
    """How a task ended. Times are the box's wall clock in milliseconds since 1970."""

    model_config = ConfigDict(frozen=True)

    exit_code: int | None = None
    stdout: Output = Output()
    stderr: Output = Output()
    error: ErrorBody | None = None
    result: dict[str, Any] | None = None
    artifacts: tuple[Artifact, ...] = ()
    usage: Usage | None = None
    accepted_at_ms: int | None = None
    started_at_ms: int | None = None
    ended_at_ms: int | None = None
