"""Every setting, with its default, its bounds and what it does; the documentation is generated from here.

Names carry their unit. Sizes are bytes, as a number or as text (`64 MiB`). A field's description is for users: what
changes when they change it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)


class Section(BaseModel):
    """A table of `tidebook.toml`."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class LogSettings(Section):
    """How the process logs, always to stderr."""

    format: Literal["auto", "console", "json"] = Field(
        default="auto",
        description="`console` for people, `json` for machines, `auto`: console on a terminal, else json.",
    )
    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least level that is logged."
    )


class ApiSettings(Section):
    """The HTTP and WebSocket server, which also serves the console."""

    host: str = Field(default="127.0.0.1", min_length=1, description="Address to listen on.")
    port: int = Field(default=8080, ge=0, le=65_535, description="Port to listen on; 0 takes a free one.")
    allow_remote: bool = Field(
        default=False, description="Listen on an address other machines can reach; the API has no keys."
    )


def _comma_separated(value: object) -> object:
    """A variable of the environment is one text; the file has a list, or the same text."""
    return tuple(word.strip() for word in value.split(",") if word.strip()) if isinstance(value, str) else value


Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_comma_separated)]


def _address(value: str, schemes: tuple[str, ...]) -> str:
    """Refused here, in the words of the setting: whoever connects would only say that it cannot."""
    if not value.startswith(tuple(f"{scheme}://" for scheme in schemes)):
        raise ValueError(f"an address begins with {'://, '.join(schemes)}://")
    if not value.isprintable() or " " in value:
        raise ValueError("an address has no spaces")
    try:
        parts = urlsplit(value)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"is no address: {error}") from None
    if not host:
        raise ValueError("an address names a host")
    if port == 0:
        raise ValueError("is no address: port 0 takes no connections")
    return value


WsUrl = Annotated[str, AfterValidator(lambda value: _address(value, ("ws", "wss")))]
HttpUrl = Annotated[str, AfterValidator(lambda value: _address(value, ("http", "https")))]


class FeedSettings(Section):
    """What the feeds of all venues have."""

    symbols: Words = Field(
        default=(), description="What to subscribe to; nothing named: what the feed was subscribed to last."
    )
    streams: Words = Field(default=(), description="Streams of each symbol.")
    ws_url: WsUrl = Field(default="", description="Base address of the streams.")
    rest_url: HttpUrl = Field(default="", description="Base address of REST requests.")
    stalled_after_s: float = Field(
        default=15.0,
        gt=1,
        le=3_600,
        description="Seconds without a frame, our ping unanswered, until a connection is replaced.",
    )
    symbols_per_connection: int | None = Field(
        default=None, ge=1, description="Symbols on one connection; default: as many as the venue allows."
    )


class BinanceSettings(FeedSettings):
    """The feed of Binance spot."""

    streams: Words = Field(
        default=("trade", "bookTicker", "depth@100ms"), min_length=1, description="Streams of each symbol."
    )
    ws_url: WsUrl = Field(default="wss://stream.binance.com:9443", description="Base address of the streams.")
    rest_url: HttpUrl = Field(default="https://api.binance.com", description="Base address of REST requests.")


class BinanceUsdmSettings(FeedSettings):
    """The feed of Binance USD-M futures."""

    streams: Words = Field(
        default=("trade", "bookTicker", "depth@100ms"), min_length=1, description="Streams of each symbol."
    )
    ws_url: WsUrl = Field(
        default="wss://fstream.binance.com/public",
        description="Base address of the streams of books and best prices.",
    )
    market_ws_url: WsUrl = Field(
        default="wss://fstream.binance.com/market",
        description="Base address of the other streams; the same address has all on one connection.",
    )
    rest_url: HttpUrl = Field(default="https://fapi.binance.com", description="Base address of REST requests.")


class CoinbaseSettings(FeedSettings):
    """The feed of Coinbase Exchange."""

    streams: Words = Field(
        default=(),
        description="Channels of each product; default: `level2_batch,matches,ticker,heartbeat`, with a key `level2` "
        "in place of `level2_batch`.",
    )
    ws_url: WsUrl = Field(default="wss://ws-feed.exchange.coinbase.com", description="Address of the feed.")
    rest_url: HttpUrl = Field(default="https://api.exchange.coinbase.com", description="Base address of REST requests.")


class CoinbaseAdvancedSettings(FeedSettings):
    """The feed of Coinbase Advanced Trade."""

    streams: Words = Field(
        default=("level2", "market_trades", "ticker", "heartbeats"),
        min_length=1,
        description="Channels of each product; heartbeats are always subscribed.",
    )
    ws_url: WsUrl = Field(default="wss://advanced-trade-ws.coinbase.com", description="Address of market data.")
    rest_url: HttpUrl = Field(default="https://api.coinbase.com", description="Base address of REST requests.")


def _kraken_depth(value: int) -> int:
    if value not in (10, 25, 100, 500, 1_000):
        raise ValueError("no book has so many levels; choose 10, 25, 100, 500 or 1000")
    return value


class KrakenSettings(FeedSettings):
    """The feed of Kraken spot."""

    streams: Words = Field(
        default=("book", "trade", "ticker", "instrument"), min_length=1, description="Channels of each pair."
    )
    depth: Annotated[int, AfterValidator(_kraken_depth)] = Field(
        default=100, description="Levels a side of each book: 10, 25, 100, 500 or 1000."
    )
    ws_url: WsUrl = Field(default="wss://ws.kraken.com/v2", description="Address of WebSocket v2.")
    rest_url: HttpUrl = Field(default="https://api.kraken.com", description="Base address of REST requests.")


class EngineSettings(Section):
    """The thread that turns feeds into market data, and its rings."""

    wait: Literal["park", "hybrid", "spin"] = Field(
        default="park",
        description="How it waits for messages: `park` sleeps until woken, `hybrid` spins some microseconds first, `spin` "
        "keeps a core, which the machine must have to spare.",
    )
    cpu: int | None = Field(default=None, ge=0, description="CPU the thread is bound to; default: any.")
    lock_memory: bool = Field(default=False, description="Keep its rings from being swapped out.")
    huge_pages: bool = Field(default=False, description="Ask for huge pages for its rings.")
    numa_node: int | None = Field(default=None, ge=0, description="NUMA node of its rings' memory; default: any.")
    seccomp: Literal["off", "log", "on"] = Field(
        default="off",
        description="`on`: the thread, which parses what strangers send, may ask the kernel for nothing but memory, files, "
        "clocks and sleep; `log`: the kernel's log names what else it asks for.",
    )


class TopologySettings(Section):
    """Where each engine runs: as threads of the node, or as a process that the node starts, watches and starts again."""

    venue: Literal["auto", "together", "fused", "split", "process"] = Field(
        default="auto",
        description="The venue's engine. `fused`: risk and matching in one thread; `together`: market data in that thread too, by turns, for "
        "two to four cores; `split`: risk and matching each in its own; `auto`: `split` where the machine has cores for it, else `fused`; "
        "`process`: as `auto`, in a process of its own, which is started again when it ends by itself. What is published "
        "and journaled is the same, so it may be another at each start.",
    )
    market_data: Literal["thread", "process"] = Field(
        default="thread",
        description="The engine that makes `md.*` of feeds. `process`: a process of its own, which is started again when it ends by itself and "
        "goes on behind what it had told; for machines with a core and 40 MB for it. Connectors and captures are in the node in any case. "
        'Not beside `venue = "together"`.',
    )
    audit: Literal["thread", "process"] = Field(
        default="thread",
        description="The audit trail. `process`: it is kept by a process of its own, which is started again when it ends by itself; for "
        "machines with a core and 80 MB for it.",
    )
    analytics: Literal["thread", "process"] = Field(
        default="thread",
        description="Windows of markets and accounts. `process`: they are made by a process of its own, which is started again when it ends by "
        "itself; for machines with a core and 80 MB for it.",
    )


class VenueSettings(Section):
    """The node's own venue: its engine, and the gateway that takes orders for it."""

    enabled: bool = Field(default=True, description="Run the venue. One that nobody uses sleeps.")
    shards: int = Field(
        default=1,
        ge=1,
        le=16,
        description="Threads that match, each the instruments whose number modulo this is its own; above 1 for all of `topology.venue` but "
        "`fused` and `together`, on machines with two cores more than these. Also free to change at each start.",
    )
    wait: Literal["park", "hybrid", "spin"] = Field(
        default="park", description="How its threads wait for commands, as `engine.wait`."
    )
    recheck: bool = Field(
        default=False,
        description="A start judges every command of `orders` again and refuses to go on where one was judged otherwise.",
    )
    remembered: int = Field(
        default=20_000,
        ge=1,
        le=10_000_000,
        description="Orders that have ended, and fills of each account, that the API still tells of; about 1 KB each.",
    )
    waiting_max: int = Field(
        default=4_096,
        ge=1,
        le=1_000_000,
        description="Requests that wait for the venue; beyond that the next is refused.",
    )
    waiting_of_account_max: int = Field(
        default=256, ge=1, le=1_000_000, description="Requests of one account that wait to be acknowledged."
    )
    answer_timeout_s: float = Field(
        default=10.0, gt=0, le=3_600, description="Seconds until a request is told that its command is not confirmed."
    )
    age_max_s: float = Field(
        default=30.0,
        gt=0,
        le=86_400,
        description="Seconds from when a place or replace was sent until it is judged; one that waited longer, as while no node ran, is "
        "refused as `late`.",
    )
    keep: str = Field(
        default="forever",
        description="What stays of `orders` once its journal is above `compaction_threshold`, in the words of the channels' rules: `forever`, `age 30d`, "
        "`size 10GiB`, `snapshots 12`, or several of them joined by ` and `. What the gateway, the audit trail, market data, any "
        "reader or the newest `keep_snapshots` snapshots still need stays in any case.",
    )
    closes_bars: bool = Field(
        default=True,
        description="Journal a timer where a bar with trades has ended, so that it is given though nobody sends a command: five behind the "
        "last trade, the latest after a day.",
    )
    allow_remote: bool = Field(
        default=False,
        description="Take orders from other machines too, where `api.allow_remote` lets them in; the API has no keys.",
    )

    @field_validator("keep")
    @classmethod
    def _keeps(cls, value: str) -> str:
        from tidebook._core import journal_keep_rule
        from tidebook.errors import JournalError

        try:
            rule = journal_keep_rule(value)
        except JournalError as error:
            raise ValueError(str(error)) from error
        if "stored" in rule:
            raise ValueError(f"{rule!r}: commands of the venue have no rows in the store, so none would ever go")
        return rule


class StorageSettings(Section):
    """How records become Parquet."""

    flush_interval_s: float = Field(
        default=300.0,
        ge=0.01,
        le=86_400,
        description="Most seconds of records in one warm part. A node that starts stores after 2 s, then each time after "
        "twice as long, up to this.",
    )
    compression: Literal["zstd", "snappy", "lz4"] = Field(default="zstd", description="Codec of Parquet pages.")


class AuditSettings(Section):
    """The audit trail of the venue's orders."""

    enabled: bool = Field(default=True, description="A node that runs the venue keeps its audit trail.")
    url: SecretStr = Field(
        default=SecretStr(""),
        description="Address of its PostgreSQL database, `postgresql://user@host/database`; default: an SQLite file in the data "
        "directory. A password is better kept in `~/.pgpass`.",
    )


class AnalyticsSettings(Section):
    """Windows of markets and accounts, live."""

    enabled: bool = Field(
        default=False,
        description="Make channels `analytics.markets` and `analytics.accounts`: what trading came to in each second, minute and day.",
    )


class DisagreementError(ValueError):
    """What is wrong with several keys together, each with its table."""

    def __init__(self, message: str, *keys: str) -> None:
        super().__init__(message)
        self.keys = keys


# Keys that are understood and not obeyed: what they steer is not built. `without_effect` names those set.
NOT_IN_EFFECT: tuple[str, ...] = ()


class _Environment(EnvSettingsSource):
    """Variables of `[binance_usdm]` are not some of `[binance]`, though they begin the same."""

    def explode_env_vars(self, field_name: str, field: FieldInfo, env_vars: Mapping[str, str | None]) -> dict[str, Any]:
        longer = tuple(
            f"{self.env_prefix}{other}_".lower()
            for other in self.settings_cls.model_fields
            if other.startswith(f"{field_name}_")
        )
        own = {name: value for name, value in env_vars.items() if not longer or not name.lower().startswith(longer)}
        return super().explode_env_vars(field_name, field, own)


class Settings(BaseSettings):
    """All settings of a node. Built by `tidebook.config.load`, which knows the file and the spellings."""

    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        env_prefix="TIDEBOOK_",
        env_nested_delimiter="_",
        env_nested_max_split=1,
    )

    data_directory: Path = Field(
        default=Path("data"), description="Directory of journals, Parquet files and their manifest."
    )
    journal_sync_interval_ms: int = Field(
        default=10, ge=1, description="Capture journals are synced this often: the most that a power loss can take."
    )
    snapshot_interval_min: float = Field(
        default=5.0,
        gt=0,
        description="Minutes between two snapshots of what a feed's storage keeps. A start derives what came after the newest one "
        "that is stored.",
    )
    keep_snapshots: int = Field(default=12, ge=2, description="Snapshots of each feed that are kept.")
    compaction_threshold: ByteSize = Field(
        default=ByteSize(1 << 30),
        ge=1 << 20,
        description="Bytes beyond which a raw journal loses its oldest messages by itself, if `keep_capture_h` is set (that of the venue, if "
        "`venue.keep` says so): those whose "
        "rows are stored, that two snapshots cover which a start can begin behind, and that are older than that.",
    )
    keep_capture_h: float | None = Field(
        default=None,
        ge=0,
        le=1_000_000,
        description="Hours of raw messages that stay when older ones may go; default: none ever goes. A journal that has lost its first "
        "messages starts only from a snapshot, in the release that wrote it or a later one.",
    )
    venues: Words = Field(
        default=(),
        description="Venues of a node; nothing named: those of the last run, else binance, coinbase, kraken.",
    )
    binance: BinanceSettings = Field(default_factory=BinanceSettings, description="Feed of Binance spot.")
    binance_usdm: BinanceUsdmSettings = Field(
        default_factory=BinanceUsdmSettings, description="Feed of Binance USD-M futures."
    )
    coinbase: CoinbaseSettings = Field(default_factory=CoinbaseSettings, description="Feed of Coinbase Exchange.")
    coinbase_advanced: CoinbaseAdvancedSettings = Field(
        default_factory=CoinbaseAdvancedSettings, description="Feed of Coinbase Advanced Trade."
    )
    kraken: KrakenSettings = Field(default_factory=KrakenSettings, description="Feed of Kraken spot.")
    topology: TopologySettings = Field(default_factory=TopologySettings, description="Where each engine runs.")
    engine: EngineSettings = Field(default_factory=EngineSettings, description="Market-data engine.")
    venue: VenueSettings = Field(default_factory=VenueSettings, description="The node's own venue.")
    storage: StorageSettings = Field(default_factory=StorageSettings, description="Parquet files.")
    audit: AuditSettings = Field(default_factory=AuditSettings, description="Audit trail.")
    analytics: AnalyticsSettings = Field(
        default_factory=AnalyticsSettings, description="Windows of markets and accounts."
    )
    api: ApiSettings = Field(default_factory=ApiSettings, description="HTTP and WebSocket server.")
    log: LogSettings = Field(default_factory=LogSettings, description="Logs.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment first, then what `load` read from the file; no `.env`, no secrets directory."""
        del env_settings, dotenv_settings, file_secret_settings
        return _Environment(settings_cls), init_settings

    @model_validator(mode="after")
    def _shards_are_threads(self) -> Self:
        where, shards = self.topology.venue, self.venue.shards
        if shards > 1 and where in ("fused", "together"):
            raise DisagreementError(
                f"venue.shards = {shards} and topology.venue = {where!r}: {where} is one thread, and shards are more",
                "topology.venue",
                "venue.shards",
            )
        return self

    @model_validator(mode="after")
    def _together_is_one_process(self) -> Self:
        if self.topology.venue == "together" and self.topology.market_data == "process":
            raise DisagreementError(
                "topology.market_data = 'process' and topology.venue = 'together': together is one thread of the node for both",
                "topology.market_data",
                "topology.venue",
            )
        return self

    def without_effect(self) -> tuple[str, ...]:
        """Keys that somebody set and that nothing obeys yet."""
        return tuple(name for name in NOT_IN_EFFECT if name in self.model_fields_set)
