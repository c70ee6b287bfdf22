"""Names of the venue's instruments, assets and accounts: commands carry numbers, people say names.

A small JSON file of the data directory, replaced whole and durably *before* the first command with a new number is sent: so a
number on `orders` has had its name on disk. A name is never given up and a number never given twice, nor one that the venue has already
(from programs that brought their own, or under names of a file that is gone). The cost: a name whose
definition the venue then refused stays, without harm, and the next try uses it again.

What has no name (commands that programs wrote to `orders.in` with numbers of their own) is called by its number.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

import msgspec

from tidebook.errors import OperationError, UnknownAccountError, UnknownInstrumentError, UsageError, VenueNamesError
from tidebook.persistence.data_directory import make_directories
from tidebook.persistence.files import read_regular, replace_durably
from tidebook.venue.codes import Wait  # noqa: TC001 - annotations are read at runtime

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable
    from pathlib import Path

FORMAT: Final = "tidebook-venue-names"
FORMAT_VERSION: Final = 1
VENUE: Final = "LOCAL"
"""What the names of the node's own instruments end with: `BTC-USD.LOCAL`."""

_ACCOUNT: Final = re.compile(r"(?!\d+$)[A-Za-z0-9_-]{1,32}")
_ASSET: Final = re.compile(r"(?!\d+$)[A-Z0-9]{1,16}")
_SYMBOL: Final = re.compile(r"(?!\d+$)[A-Z0-9][A-Z0-9_/-]{0,31}")
_NUMBER_MAX: Final = (1 << 32) - 1

_Number = Annotated[int, msgspec.Meta(ge=1, le=_NUMBER_MAX)]


class AccountName(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An account as people call it."""

    number: _Number
    wait: Wait = "durable"
    """How safe a command is before it is acknowledged, where a request does not say."""


class InstrumentName(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An instrument as people call it."""

    number: _Number
    base: str
    quote: str


class _Content(msgspec.Struct, forbid_unknown_fields=True):
    format: str = FORMAT
    version: int = FORMAT_VERSION
    assets: dict[str, _Number] = msgspec.field(default_factory=dict)
    instruments: dict[str, InstrumentName] = msgspec.field(default_factory=dict)
    accounts: dict[str, AccountName] = msgspec.field(default_factory=dict)


class _Head(msgspec.Struct):
    format: str
    version: int


_decode_head = msgspec.json.Decoder(_Head).decode
_decode_content = msgspec.json.Decoder(_Content).decode


class Numbers(NamedTuple):
    """Numbers that the venue has, with or without a name."""

    assets: Collection[int] = ()
    instruments: Collection[int] = ()
    accounts: Collection[int] = ()


class Names:
    """The file and what is in it. Threads: one."""

    def __init__(self, path: Path, in_use: Callable[[], Numbers] = Numbers) -> None:
        """Reads the file, which need not be there; a new name gets no number that is `in_use`.

        Raises: VenueNamesError when the file is damaged or of a later version.
        """
        self._path = path
        self._in_use = in_use
        self._take(_read(path))

    @property
    def instruments(self) -> dict[str, InstrumentName]:
        """By name."""
        return self._content.instruments

    @property
    def accounts(self) -> dict[str, AccountName]:
        """By name."""
        return self._content.accounts

    def instrument(self, number: int) -> str:
        """What an instrument is called: its name, or its number where it has none."""
        return self._instruments.get(number, f"{number}.{VENUE}")

    def account(self, number: int) -> str:
        """What an account is called: its name, or its number where it has none."""
        return self._accounts.get(number, str(number))

    def asset(self, number: int) -> str:
        """What an asset is called: its name, or its number where it has none."""
        return self._assets.get(number, str(number))

    def wait_of(self, number: int) -> Wait:
        """How safe an account's commands are before they are acknowledged."""
        name = self._accounts.get(number)
        return "durable" if name is None else self._content.accounts[name].wait

    def instrument_number(self, name: str) -> int:
        """The number of an instrument of this venue, in any case of letters. Raises: UnknownInstrumentError."""
        wanted = name.upper()
        found = self._content.instruments.get(wanted)
        if found is not None:
            return found.number
        digits = wanted.removesuffix(f".{VENUE}")
        if (number := _number(digits)) is not None:
            return number
        known = self._content.instruments
        near = get_close_matches(wanted, known, n=3)
        hint = _hint(near, known, "listed", "tidebook venue init", "tidebook venue instruments")
        raise UnknownInstrumentError(f"no instrument {name!r} at {VENUE}: {hint}", instrument=name, near=near)

    def account_number(self, name: str) -> int:
        """The number of an account. Raises: UnknownAccountError."""
        found = self._content.accounts.get(name)
        if found is not None:
            return found.number
        if (number := _number(name)) is not None:
            return number
        known = self._content.accounts
        near = get_close_matches(name, known, n=3)
        hint = _hint(near, known, "open", "tidebook venue init", "tidebook venue accounts")
        raise UnknownAccountError(f"no account {name!r}: {hint}", account=name, near=near)

    def asset_number(self, name: str) -> int:
        """The number of an asset. Raises: UsageError."""
        found = self._content.assets.get(name.upper())
        if found is not None:
            return found
        known = ", ".join(sorted(self._content.assets)) or "none yet"
        raise UsageError(f"no asset {name!r}; those of listed instruments: {known}", asset=name)

    def require(self, in_use: Numbers) -> None:
        """Keeps the file from now on, where there is none yet and the venue has nothing that could have had a name in it.

        Raises: VenueNamesError where it has: then the file is gone; OperationError.
        """
        if self._path.exists():
            return
        if in_use.accounts or in_use.instruments:
            raise VenueNamesError(
                f"{self._path} is not there, and `orders` has {len(in_use.accounts)} accounts and {len(in_use.instruments)} "
                "instruments: without it nobody knows what they are called, and a name could be given to another's money; put it "
                f'back from a backup. If none of them ever had a name, or all are lost, write {{"format": "{FORMAT}", '
                f'"version": {FORMAT_VERSION}}} there: they are called by their numbers then',
                path=str(self._path),
            )
        self._keep(self._content)

    def name_instrument(self, name: str, base: str, quote: str) -> InstrumentName:
        """The instrument of this name, from now on if need be, durably. Raises: UsageError for what is no name; OperationError."""
        full, base, quote = name.upper(), base.upper(), quote.upper()
        symbol, dot, venue = full.rpartition(".")
        if not dot or venue != VENUE or not _SYMBOL.fullmatch(symbol):
            raise UsageError(
                f"{name!r} is no name of an instrument here: it ends with .{VENUE}, before that up to 32 of A-Z 0-9 _ / -, "
                f"not digits alone; such as BTC-USD.{VENUE}",
                instrument=name,
            )
        for asset in (base, quote):
            if not _ASSET.fullmatch(asset):
                raise UsageError(
                    f"{asset!r} is no name of an asset: up to 16 of A-Z 0-9, not digits alone", asset=asset
                )
        found = self._content.instruments.get(full)
        if found is not None:
            if (found.base, found.quote) != (base, quote):
                raise UsageError(
                    f"{full} is {found.base} in {found.quote}, and not {base} in {quote}: assets of an instrument stay; use "
                    "another name",
                    instrument=full,
                )
            return found
        in_use = self._in_use()
        assets = dict(self._content.assets)
        for asset in (base, quote):
            assets.setdefault(asset, _next(assets.values(), in_use.assets))
        found = InstrumentName(_next(self._instruments, in_use.instruments), base, quote)
        self._keep(_Content(assets=assets, instruments=self.instruments | {full: found}, accounts=self.accounts))
        return found

    def name_account(self, name: str, wait: Wait | None = None) -> AccountName:
        """The account of this name, from now on if need be, durably; `wait` replaces what it has.

        Raises: UsageError for what is no name; OperationError.
        """
        found = self._content.accounts.get(name)
        if found is None:
            if not _ACCOUNT.fullmatch(name):
                raise UsageError(
                    f"{name!r} is no name of an account: 1 to 32 of A-Z a-z 0-9 _ -, not digits alone", account=name
                )
            found = AccountName(_next(self._accounts, self._in_use().accounts), wait or "durable")
        elif wait is None or wait == found.wait:
            return found
        else:
            found = AccountName(found.number, wait)
        accounts = self.accounts | {name: found}
        self._keep(_Content(assets=self._content.assets, instruments=self.instruments, accounts=accounts))
        return found

    def _keep(self, content: _Content) -> None:
        """Has it on disk, then here. Raises: OperationError; then all is as it was."""
        try:
            make_directories(self._path.parent)
        except OSError as error:
            raise OperationError(f"{self._path.parent}: cannot be made ({error.strerror})") from error
        replace_durably(self._path, msgspec.json.format(msgspec.json.encode(content), indent=1) + b"\n")
        self._take(content)

    def _take(self, content: _Content) -> None:
        self._content = content
        self._instruments = {found.number: name for name, found in content.instruments.items()}
        self._accounts = {found.number: name for name, found in content.accounts.items()}
        self._assets = {number: name for name, number in content.assets.items()}


def _hint(near: list[str], known: Collection[str], there: str, begin: str, lists: str) -> str:
    """What a name may have meant that nobody has, and where to look."""
    if near:
        return f"did you mean {' or '.join(near)}?"
    if not known:
        return f"none is {there} yet; `{begin}` begins with one"
    return f"none is called nearly so; `{lists}` lists the {len(known)} that there are"


def _number(text: str) -> int | None:
    """What stands for itself; None for what is no number, or larger than one may be."""
    if not (text.isdecimal() and text.isascii()):
        return None
    digits = text.lstrip("0")
    # Python converts no number of very many digits.
    return int(digits) if 0 < len(digits) <= len(str(_NUMBER_MAX)) and int(digits) <= _NUMBER_MAX else None


def _next(named: Iterable[int], in_use: Collection[int]) -> int:
    number = max(named, default=0) + 1
    while number in in_use:
        number += 1
    return number


def _read(path: Path) -> _Content:
    try:
        text = read_regular(path)
    except (FileNotFoundError, NotADirectoryError):
        return _Content()
    try:
        head = _decode_head(text)
        if (head.format, head.version) != (FORMAT, FORMAT_VERSION):
            raise VenueNamesError(
                f"{path} is {head.format} version {head.version}; this release reads {FORMAT} version {FORMAT_VERSION}: use "
                "the release that wrote it",
                path=str(path),
            )
        return _decode_content(text)
    except msgspec.DecodeError as error:
        raise VenueNamesError(
            f"{path} is damaged ({error}): without it nobody knows what the numbers on `orders` are called; put it back from a "
            "backup",
            path=str(path),
        ) from error
