"""Keys for venues that want them: who needs a key asks a provider for it, at the moment it is needed.

The provider is a small interface, because keys belong into a vault; until there is one they come from the environment.
A key is shown by no `repr`, named in no error and written to no feed.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from tidebook.errors import ConfigError

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
        """The key; None when none of its variables is set.

        Raises: ConfigError for half of one, which a venue would only call a wrong signature.
        """
        suffix = venue.upper().replace("-", "_")
        names = [f"TIDEBOOK_{word}_{suffix}" for word in VARIABLES]
        name, secret, passphrase = (self._environment.get(variable, "") for variable in names)
        if not (name or secret or passphrase):
            return None
        missing = [variable for variable, value in zip(names, (name, secret), strict=False) if not value]
        if missing:
            there = next(variable for variable in names if self._environment.get(variable))
            raise ConfigError(
                f"{there} is set and {' and '.join(missing)} is not; set all of a key or none", key=missing[0]
            )
        return ApiKey(name, secret.replace("\\n", "\n"), passphrase)
