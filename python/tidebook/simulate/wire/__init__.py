"""The venues a simulator can be, one module each."""

from tidebook.errors import ConfigError
from tidebook.simulate.dialect import Dialect
from tidebook.simulate.wire.binance import BINANCE
from tidebook.simulate.wire.binance_usdm import BINANCE_USDM
from tidebook.simulate.wire.coinbase import COINBASE
from tidebook.simulate.wire.coinbase_advanced import COINBASE_ADVANCED
from tidebook.simulate.wire.kraken import KRAKEN

DIALECTS: dict[str, Dialect] = {
    dialect.name: dialect for dialect in (BINANCE, BINANCE_USDM, COINBASE, COINBASE_ADVANCED, KRAKEN)
}


def dialect_of(venue: str) -> Dialect:
    """The dialect of a venue. Raises: ConfigError for one that cannot be simulated."""
    dialect = DIALECTS.get(venue)
    if dialect is None:
        raise ConfigError(f"simulator: no venue {venue}; it can be {', '.join(DIALECTS)}", key="simulate", value=venue)
    return dialect
