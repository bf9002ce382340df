"""What an operator can set of the hub: command line > environment (OPERIS_HUB_…) > DIR/hub.toml > defaults."""

import os
from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from cloudsync.messages import describe
from hub.errors import StartError

FILE: Final = "hub.toml"
ENV_PREFIX: Final = "OPERIS_HUB_"


def address(text: str) -> str:
    """Check HOST:PORT; an IPv6 host stands in brackets."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"'{text}' is not HOST:PORT, as in 127.0.0.1:8443 or [::1]:8443")
    return text


class HubSettings(BaseSettings):
    """The hub's settings."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, extra="forbid", frozen=True, use_attribute_docstrings=True)

    relay: Annotated[str, AfterValidator(address)] = "127.0.0.1:8443"
    """Where boxes and consoles connect, HOST:PORT."""
    web: Annotated[str, AfterValidator(address)] = "127.0.0.1:8080"
    """Where the API and the page are served, HOST:PORT."""
    artifact_limit_mib: Annotated[int, Field(ge=0)] = 20480
    """How much is kept in all of the files that tasks leave; what has no room stays on its box."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Command line, environment, file."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)


def load(data: Path, flags: dict[str, str]) -> HubSettings:
    """Read the settings; `StartError` names what is wrong and what is known."""
    known = ", ".join(HubSettings.model_fields)
    unknown = [
        name
        for name in os.environ
        if name.startswith(ENV_PREFIX) and name[len(ENV_PREFIX) :].lower() not in HubSettings.model_fields
    ]
    if unknown:
        raise StartError(f"unknown setting {unknown[0]} in the environment", f"known: {known}, after {ENV_PREFIX}")

    class WithFile(HubSettings):
        model_config = SettingsConfigDict(toml_file=data / FILE)

    try:
        return WithFile(**flags)  # type: ignore[arg-type]
    except ValidationError as error:
        raise StartError(f"settings: {describe(error)}", f"known settings: {known}; see {data / FILE}") from error
    except ValueError as error:
        raise StartError(f"{data / FILE} cannot be read: {error}", "mend the TOML or remove the file") from error
