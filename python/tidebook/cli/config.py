"""`tidebook config`: what is set, and what can be."""

import os
from pathlib import Path

from tidebook.cli.output import Json, print_json
from tidebook.config import keys, keys_page, load


def show(*, file: Path | None = None, json: Json = False) -> None:
    """Show every setting in force and what overrides its default.

    Parameters
    ----------
    file
        Settings file instead of `tidebook.toml`.
    """
    settings = load(file)
    values = settings.model_dump(mode="json")
    if json:
        print_json(values)
        return
    for key in keys():
        table, _, name = key.name.rpartition(".")
        value = (values[table] if table else values)[name]
        if key.variable in os.environ:
            origin = f"  # {key.variable}"
        else:
            section = getattr(settings, table) if table else settings
            origin = "  # file" if name in section.model_fields_set else ""
        print(f"{key.name} = {value!r}{origin}")


def list_keys(*, markdown: bool = False, json: Json = False) -> None:
    """List every key with its default and what it does.

    Parameters
    ----------
    markdown
        Print docs/settings.md.
    """
    if markdown:
        print(keys_page(), end="")
    elif json:
        print_json({key.name: {"default": key.default, "description": key.description} for key in keys()})
    else:
        for key in keys():
            print(f"{key.name} = {key.default}\n    {key.description}")
