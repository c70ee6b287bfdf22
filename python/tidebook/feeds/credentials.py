"""Keys for venues that want them: who needs a key asks a provider for it, at the moment it is needed.

The provider is a small interface, because keys belong into a vault; until there is one they come from the environment.
A key is shown by no `repr`, named in no error and written to no feed.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

VARIABLES = ("KEY", "SECRET", "PASSPHRASE")
"""Words of the variables: `TIDEBOOK_<word>_<VENUE>`."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What a venue gave out for one user."""

    name: str = field(repr=False)
    """What the venue calls the key; not secret, but nobody's business either."""
    secret: str = field(repr=False)
    passphrase: str = field(default="", repr=False)
    """Of venues that have one."""


class Credentials(Protocol):
    """Gives keys."""

    def api_key(self, venue: str) -> ApiKey | None:
        """The key for this venue; None when there is none, and market data without one will do."""


class NoCredentials:
    """No venue has a key."""

    def api_key(self, venue: str) -> ApiKey | None:
        """Never one."""
        del venue
        return None


class EnvironmentCredentials:
    r"""Keys from `TIDEBOOK_KEY_<VENUE>`, `TIDEBOOK_SECRET_<VENUE>` and `TIDEBOOK_PASSPHRASE_<VENUE>`.

    A line break inside a secret, as in a PEM key, may be written as `\n`.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._environment = environment

    def api_key(self, venue: str) -> ApiKey | None:
        """The key, when both its name and its secret are there."""
        suffix = venue.upper().replace("-", "_")
        name, secret, passphrase = (self._environment.get(f"TIDEBOOK_{word}_{suffix}", "") for word in VARIABLES)
        if not name or not secret:
            return None
        return ApiKey(name, secret.replace("\\n", "\n"), passphrase)
