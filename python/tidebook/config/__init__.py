"""Settings: one `tidebook.toml`, overridden by the environment, every key known and documented.

`load()` gives `Settings`; `parse()` reads the options of a single thing (a channel) by the same rules. An unknown
key is an error that names the nearest known one: a misspelt durability setting must never be silently the default.
"""

from tidebook.config.keys import Key, keys, keys_page
from tidebook.config.load import load, parse
from tidebook.config.settings import ApiSettings, ChannelSettings, LogSettings, Settings, StorageSettings

__all__ = [
    "ApiSettings",
    "ChannelSettings",
    "Key",
    "LogSettings",
    "Settings",
    "StorageSettings",
    "keys",
    "keys_page",
    "load",
    "parse",
]
