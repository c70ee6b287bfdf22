"""Every key as a row: for `tidebook config keys`, for docs/settings.md, and for finding the nearest key of a typo."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches

from pydantic import BaseModel, ByteSize, SecretStr

from tidebook.config.settings import Settings

# Variables that steer a process and are no settings of a node.
PROCESS_VARIABLES = {
    "TIDEBOOK_CONFIG": "Path of the settings file instead of `tidebook.toml` in the working directory.",
    "TIDEBOOK_DEBUG": "1: a failing command prints its traceback.",
    "TIDEBOOK_RINGS": "Directory of rings instead of shared memory; each node has a folder of its own in it.",
    "TIDEBOOK_DATA_RECORDINGS": "Folder of recorded exchange data that tests and benches read.",
    "TIDEBOOK_KEY_COINBASE": "Name of the key for Coinbase Exchange; without one its open channels are subscribed.",
    "TIDEBOOK_SECRET_COINBASE": "Its secret, as the venue gave it out.",
    "TIDEBOOK_PASSPHRASE_COINBASE": "Its passphrase.",
    "TIDEBOOK_KEY_COINBASE_ADVANCED": "Name of the key for Coinbase Advanced Trade, whose market data needs none.",
    "TIDEBOOK_SECRET_COINBASE_ADVANCED": "Its private key in PEM form, line breaks as they are or as `\\n`.",
}


# Keys that were given another name, and which: whoever still writes the old one is told.
RENAMED = {
    "venue.topology": "topology.venue",
    "audit.topology": "topology.audit",
    "analytics.topology": "topology.analytics",
}


@dataclass(frozen=True)
class Key:
    """One setting: `name` with its table (`api.port`), the environment variable, the seed's spelling, the rest."""

    name: str
    variable: str
    camel_case: str
    default: object
    description: str


def variable_of(key: str) -> str:
    """`TIDEBOOK_API_PORT` of `api.port`."""
    return "TIDEBOOK_" + key.replace(".", "_").upper()


def to_camel(name: str) -> str:
    """`keep_snapshots` as `keepSnapshots`."""
    return re.sub(r"_([a-z])", lambda match: match[1].upper(), name)


def to_snake(name: str) -> str:
    """`keepSnapshots` and `keep-snapshots` as `keep_snapshots`; what is snake_case already stays."""
    return re.sub(r"(?<=[a-z0-9])([A-Z])", lambda match: "_" + match[1].lower(), name.replace("-", "_"))


def keys(model: type[BaseModel] = Settings, table: str = "") -> Iterator[Key]:
    """Every key of `model`, tables after the keys of their parent's own, in the order they are declared."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from keys(field.annotation, table=f"{name}.")
        else:
            default = field.default
            if isinstance(default, ByteSize):
                default = default.human_readable()
            elif isinstance(default, tuple):
                default = ",".join(default)
            elif isinstance(default, SecretStr):
                default = default.get_secret_value()
            path = f"{table}{name}"
            yield Key(
                name=path,
                variable=variable_of(path),
                camel_case=table + to_camel(name),
                default=default,
                description=field.description or "",
            )


def nearest(name: str, known: list[str], table: str = "") -> str:
    """The advice at the end of an error: the name it has now, else the nearest of `known`, or all of them when none is near."""
    if renamed := RENAMED.get(table + name):
        return f"it is {renamed!r} now"
    if renamed := {variable_of(old): variable_of(new) for old, new in RENAMED.items()}.get(name):
        return f"it is {renamed!r} now"
    found = get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {table + found[0]!r}?" if found else f"known are {', '.join(table + word for word in known)}"


def keys_page() -> str:
    """docs/settings.md: every key as Markdown."""
    lines = [
        "# Settings",
        "",
        "One file, `tidebook.toml`, in the working directory (or where `TIDEBOOK_CONFIG` points); a variable of the",
        "environment overrides it. Keys are also understood in camelCase (`dataDirectory`). A key that does not exist is",
        "an error. `tidebook config show` prints what is in force and where each value comes from.",
        "",
        "This page is generated: `tidebook config keys --markdown > docs/settings.md`.",
        "",
        "| key | default | what it does | variable |",
        "|---|---|---|---|",
    ]
    for key in keys():
        default = "" if key.default in (None, "") else f"`{key.default}`"
        lines.append(f"| `{key.name}` | {default} | {key.description} | `{key.variable}` |")
    lines += ["", "Variables that are no settings:", "", "| variable | what it does |", "|---|---|"]
    lines += [f"| `{variable}` | {what} |" for variable, what in PROCESS_VARIABLES.items()]
    return "\n".join(lines) + "\n"
