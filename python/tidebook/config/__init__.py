"""Settings: one `tidebook.toml`, overridden by the environment, every key known and documented.

`load()` gives `Settings`. An unknown key is an error that names the nearest known one: a misspelt durability setting must
never be silently the default. Options of a single channel are `tidebook.transport.ChannelOptions`, and no settings: processes
started in different directories have to agree on a channel.
"""

from tidebook.config.keys import Key, keys, keys_page
from tidebook.config.load import load
from tidebook.config.settings import ApiSettings, LogSettings, Settings, StorageSettings

__all__ = [
    "ApiSettings",
    "Key",
    "LogSettings",
    "Settings",
    "StorageSettings",
    "keys",
    "keys_page",
    "load",
]
