"""What a task is asked to do and what came of it: the one vocabulary of wire, API, CLI and journal bodies."""

import base64
import hashlib
import json
import re
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter

BASH_TIMEOUT_S: Final = 60.0
MAX_TIMEOUT_S: Final = 24 * 3600.0
DELIVER_WITHIN_S: Final = 24 * 3600.0
MAX_DELIVER_WITHIN_S: Final = 30 * 24 * 3600.0
# A larger file is not kept: it would take a poor link for days.
ARTIFACT_LIMIT_BYTES: Final = 2 * 1024**3
# A task that says it is idempotent is tried this often in all when a crash interrupts it.
MAX_ATTEMPTS: Final = 3

_ENV_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


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


def _encodable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("must be valid Unicode without lone surrogates") from error
    return text


Text = Annotated[str, AfterValidator(_encodable)]
Argument = Annotated[Text, AfterValidator(_no_nul)]
EnvName = Annotated[Argument, AfterValidator(_env_name)]
AbsolutePath = Annotated[Argument, AfterValidator(_absolute)]


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
    timeout_s: Annotated[float, Field(gt=0, le=MAX_TIMEOUT_S, allow_inf_nan=False)] = BASH_TIMEOUT_S
    """Seconds it may run before its whole process tree is ended."""
    deliver_within_s: Annotated[float, Field(gt=0, le=MAX_DELIVER_WITHIN_S, allow_inf_nan=False)] = DELIVER_WITHIN_S
    """Seconds within which the box must have it; after that it expires."""
    idempotent: bool = False
    """Whether a box may run it again after a crash interrupted it."""


# One kind today; a further kind joins here and everything that matches on `kind` must follow.
TaskSpec = BashExec
SPEC: Final[TypeAdapter[BashExec]] = TypeAdapter(BashExec)
KINDS: Final = ("bash.exec",)


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
