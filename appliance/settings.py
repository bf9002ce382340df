"""The daemon's settings: defaults < DIR/box.toml < credentials < environment (OPERIS_BOX_*) < command line."""

import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
    SettingsConfigDict,
)

from appliance.browser.supervisor import BrowserLimits
from appliance.engine import EngineSettings
from appliance.errors import SettingsWrong
from appliance.executor import Limits

FILE: Final = "box.toml"
ENV_PREFIX: Final = "OPERIS_BOX_"
MIB: Final = 1024 * 1024


def relay_address(text: str) -> str:
    """Check the address of a hub's relay."""
    return _address(text, ("ws", "wss"), "ws://HOST:PORT/relay")


def web_address(text: str) -> str:
    """Check the address of a hub's web port."""
    return _address(text, ("http", "https"), "http://HOST:PORT")


def _address(text: str, schemes: tuple[str, str], example: str) -> str:
    """The address, which is not repeated where it is wrong: someone may have put a secret into it."""
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
        (host or "").encode("idna")
    except ValueError as error:
        raise ValueError(f"is no address; write it as in {example}") from error
    if parts.scheme not in schemes or not host or parts.username is not None or parts.query or parts.fragment:
        raise ValueError(f"must begin with {schemes[0]}:// or {schemes[1]}:// and a host, as in {example}")
    return text


# As in {{secret:NAME}}.
SecretName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$")]


class BoxSettings(BaseSettings):
    """How a box works. What concerns its hub is remembered in the data folder and need not be given again."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, frozen=True, extra="forbid", use_attribute_docstrings=True, hide_input_in_errors=True
    )

    data: Path
    """The data folder."""
    hub: Annotated[str, AfterValidator(relay_address)] | None = None
    """The hub's address for boxes: ws://HOST:PORT/relay or wss://…"""
    web: Annotated[str, AfterValidator(web_address)] | None = None
    """The hub's web address, at which the box enrols: http://HOST:PORT or https://…"""
    enrol: SecretStr | None = None
    """An enrolment token; ignored once the box is enrolled."""
    name: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    """The name under which the box enrols; the machine's own by default."""
    concurrency: Annotated[int, Field(ge=1, le=256)] = 8
    """How many tasks run at once."""
    task_user: str | None = None
    """The user as whom tasks run; the daemon's own by default."""
    spool_limit_mib: Annotated[int, Field(ge=1)] = 64
    """How much of one stream of a running task stays on the disk: more loses its middle."""
    artifact_limit_mib: Annotated[int, Field(ge=0)] = 2048
    """How much is kept of the files that tasks leave; what the hub has goes first."""
    keep_days: Annotated[int, Field(ge=1)] = 7
    """How long finished tasks and synced events are kept."""
    disk_floor_mib: Annotated[int, Field(ge=1)] = 64
    """With less free space than this no task is accepted."""
    browser: Literal["auto", "lazy", "off"] = "auto"
    """auto: a browser is kept ready; lazy: it is started when first needed; off: browser tasks fail."""
    browser_concurrency: Annotated[int, Field(ge=1, le=64)] = 4
    """How many browser tasks run at once, among those that `concurrency` allows."""
    browser_recycle_tasks: Annotated[int, Field(ge=1)] = 200
    """After so many tasks the browser is replaced by a fresh one."""
    browser_memory_mib: Annotated[int, Field(ge=512)] = 1024
    """A browser that takes more memory is replaced, a page that takes more by itself is ended."""
    browser_program: str | None = None
    """The browser to use; by default the first of those that are installed."""
    secrets: dict[SecretName, SecretStr] = {}
    """What steps may use as {{secret:NAME}}."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The order of precedence, highest first."""
        del dotenv_settings, file_secret_settings
        folder = init_settings().get("data") or env_settings().get("data")
        in_file = {} if folder is None else _read_file(Path(str(folder)) / FILE)
        sources = [init_settings, env_settings]
        credentials = os.environ.get("CREDENTIALS_DIRECTORY")
        if credentials is not None and Path(credentials).is_dir():
            sources.append(SecretsSettingsSource(settings_cls, secrets_dir=credentials, env_prefix=ENV_PREFIX.lower()))
            sources.append(InitSettingsSource(settings_cls, {"secrets": _read_secrets(Path(credentials))}))
        return (*sources, InitSettingsSource(settings_cls, in_file))

    def engine(self) -> EngineSettings:
        """What the engine needs to know."""
        limits = Limits(
            concurrency=self.concurrency,
            spool_limit_bytes=self.spool_limit_mib * MIB,
            artifact_bytes=self.artifact_limit_mib * MIB,
            keep_days=self.keep_days,
            disk_floor_bytes=self.disk_floor_mib * MIB,
        )
        browser = BrowserLimits(
            is_on=self.browser != "off",
            concurrency=self.browser_concurrency,
            recycle_tasks=self.browser_recycle_tasks,
            memory_mib=self.browser_memory_mib,
            program=self.browser_program,
            secrets={name: secret.get_secret_value() for name, secret in self.secrets.items()},
        )
        return EngineSettings(limits, self.task_user, browser)


def load(given: dict[str, Any]) -> BoxSettings:
    """The settings with what the command line gives; `SettingsWrong` names what is wrong, without its value."""
    names = (name for name in os.environ if name.startswith(ENV_PREFIX))
    unknown = [name for name in names if name[len(ENV_PREFIX) :].lower() not in BoxSettings.model_fields]
    if unknown:
        known = ", ".join(BoxSettings.model_fields)
        raise SettingsWrong(
            f"a setting is wrong: {unknown[0]} in the environment is unknown", f"Known: {known}, after {ENV_PREFIX}."
        )
    try:
        return BoxSettings(**given)
    except ValidationError as error:
        clauses = []
        for item in error.errors(include_url=False, include_input=False):
            field = ".".join(str(part) for part in item["loc"])
            clauses.append(f"{field}: {item['msg'].removeprefix('Value error, ')}")
        hint = f"See 'operis-box run --help', {ENV_PREFIX}… in the environment, and {FILE} in the data folder."
        raise SettingsWrong(f"a setting is wrong: {'; '.join(clauses)}", hint) from None


def _read_file(path: Path) -> dict[str, Any]:
    # What is wrong with the folder itself is told when it is opened.
    try:
        found = tomllib.loads(path.read_text())
        if "secrets" in found and path.stat().st_mode & 0o077:
            raise SettingsWrong(f"{path} holds secrets, and others may read it", f"Close it to them: chmod 600 {path}")
        return found
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        if not os.access(path.parent, os.X_OK):
            return {}
        hint = "Let the box's user read it, or remove it."
        raise SettingsWrong(f"{path} cannot be read: {error.strerror}", hint) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        hint = "Correct it; it is TOML, one 'name = value' a line."
        raise SettingsWrong(f"{path} cannot be read: {error}", hint) from None


def _read_secrets(credentials: Path) -> dict[str, str]:
    """Those that the service manager hands over: files in `secrets/`, or named `secrets_NAME` as systemd names them."""
    files = {path.name: path for path in (credentials / "secrets").glob("*")}
    files |= {path.name.removeprefix("secrets_"): path for path in credentials.glob("secrets_*")}
    try:
        return {name: path.read_text().removesuffix("\n") for name, path in files.items() if path.is_file()}
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise SettingsWrong(
            f"a secret in {credentials} cannot be read: {reason}", "Correct it, or remove it."
        ) from None
