"""Reads settings: the file in any spelling, the environment over it, every mistake as one line.

Spellings are made one (snake_case) and unknown keys are refused here, before pydantic sees anything, because only here
it is known where a key was written.
"""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from tidebook.config.keys import PROCESS_VARIABLES, keys, nearest, to_snake, variable_of
from tidebook.config.settings import DisagreementError, Settings
from tidebook.errors import ConfigError

FILE_NAME = "tidebook.toml"


def load(path: Path | str | None = None) -> Settings:
    """The settings in force.

    Reads `path`; without it the file TIDEBOOK_CONFIG names; without that `tidebook.toml` in the working directory,
    which need not exist. Variables TIDEBOOK_* override the file.
    Raises: ConfigError (facts key, source) for an unreadable file, an unknown key or a value out of range.
    """
    chosen = path or os.environ.get("TIDEBOOK_CONFIG")
    file = Path(chosen or FILE_NAME)
    must_exist = chosen is not None
    written = _normalised(_read(file), Settings, str(file)) if must_exist or file.exists() else {}
    _check_environment()
    try:
        return Settings(**written)
    except ValidationError as error:
        raise _one_line(error, str(file) if written else "settings") from None


def _read(file: Path) -> dict[str, object]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}", source=str(file)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: is no TOML: {error}", source=str(file)) from error


def _normalised(written: Mapping[str, object], model: type[BaseModel], source: str, table: str = "") -> dict[str, Any]:
    """`written` with every key in snake_case and known to `model`."""
    result: dict[str, Any] = {}
    for spelling, value in written.items():
        name = to_snake(spelling)
        field = model.model_fields.get(name)
        if field is None:
            raise ConfigError(
                f"{source}: unknown key {table + spelling!r}; {nearest(name, list(model.model_fields), table)}",
                key=table + spelling,
                source=source,
            )
        if name in result:
            raise ConfigError(f"{source}: {table + name!r} is written twice, in two spellings", key=name, source=source)
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel) and isinstance(value, Mapping):
            value = _normalised(value, inner, source, table=f"{name}.")
        result[name] = value
    return result


def _check_environment() -> None:
    known = [key.variable for key in keys()] + list(PROCESS_VARIABLES)
    for variable in os.environ:
        if variable.startswith("TIDEBOOK_") and variable not in known:
            raise ConfigError(
                f"environment: unknown variable {variable!r}; {nearest(variable, known)}",
                key=variable,
                source="environment",
            )


def _one_line(error: ValidationError, source: str) -> ConfigError:
    """Pydantic's findings as one line that says where each value was written; the first is told, further ones are counted."""
    first, *others = error.errors(include_url=False)
    more = f" (and {len(others)} more)" if others else ""
    message = first["msg"].removeprefix("Value error, ")
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, DisagreementError):
        where = " and ".join(dict.fromkeys(_variable(key) or source for key in cause.keys))
        return ConfigError(f"{where}: {message}{more}", key=cause.keys[0], source=where)
    key = ".".join(str(part) for part in first["loc"])
    variable = _variable(key)
    where = f"{source}: {key}" if variable is None else variable
    return ConfigError(
        f"{where} = {first['input']!r}: {message}{more}", key=key, value=first["input"], source=variable or source
    )


def _variable(key: str) -> str | None:
    """The variable that a key has its value from, if it has it from there; they are understood in any case."""
    found = next((name for name in os.environ if name.upper() == variable_of(key)), None)
    return None if found is None else f"environment {found}"
