"""Settings: every spelling is understood, nothing is guessed, every mistake is one line that names the remedy."""

import json
import re
from pathlib import Path

import pytest

from tidebook.config import keys, keys_page, load
from tidebook.config.settings import NOT_IN_EFFECT
from tidebook.errors import ConfigError


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import os

    for name in list(os.environ):
        if name.startswith("TIDEBOOK_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def written(text: str) -> Path:
    file = Path("tidebook.toml")
    file.write_text(text)
    return file


def test_without_a_file_the_defaults_are_in_force() -> None:
    settings = load()
    assert settings.data_directory == Path("data")
    assert settings.journal_sync_interval_ms == 10
    assert settings.compaction_threshold == 1 << 30
    assert settings.api.port == 8080


@pytest.mark.parametrize(
    "text",
    [
        'data_directory = "/d"\nkeep_snapshots = 3\ncompaction_threshold = "2 GiB"\n[storage]\nflush_interval_s = 60\n',
        'dataDirectory = "/d"\nkeepSnapshots = 3\ncompactionThreshold = 2147483648\n[storage]\nflushIntervalS = 60\n',
    ],
)
def test_both_spellings_and_both_forms_of_a_size_mean_the_same(text: str) -> None:
    written(text)
    settings = load()
    assert (settings.data_directory, settings.keep_snapshots) == (Path("/d"), 3)
    assert (settings.compaction_threshold, settings.storage.flush_interval_s) == (2 << 30, 60)


def test_every_key_is_understood_in_both_spellings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Method: write each key alone with its own default, in each spelling, and in the environment."""
    for key in keys():
        if key.default is None:
            continue
        for spelling in {key.name, key.camel_case}:
            table, _, name = spelling.rpartition(".")
            value = json.dumps(key.default if isinstance(key.default, int | float) else str(key.default))
            written((f"[{table}]\n" if table else "") + f"{name} = {value}\n")
            assert load() == load(written("")), spelling
        monkeypatch.setenv(key.variable, str(key.default))
        assert load() == load(written("")), key.variable
        monkeypatch.delenv(key.variable)


def test_the_environment_overrides_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    written("journalSyncIntervalMs = 20\n[api]\nhost = '::1'\nport = 8192\n")
    monkeypatch.setenv("TIDEBOOK_JOURNAL_SYNC_INTERVAL_MS", "30")
    monkeypatch.setenv("TIDEBOOK_API_PORT", "8193")
    settings = load()
    assert settings.journal_sync_interval_ms == 30
    assert (settings.api.host, settings.api.port) == ("::1", 8193)


def test_a_file_named_by_the_environment_is_read_and_must_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("other.toml").write_text("keep_snapshots = 4\n")
    monkeypatch.setenv("TIDEBOOK_CONFIG", "other.toml")
    assert load().keep_snapshots == 4
    monkeypatch.setenv("TIDEBOOK_CONFIG", "gone.toml")
    with pytest.raises(ConfigError, match=r"^gone\.toml: cannot be read: No such file or directory$"):
        load()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data_direktory = 1", "tidebook.toml: unknown key 'data_direktory'; did you mean 'data_directory'?"),
        ("keepSnapshot = 1", "tidebook.toml: unknown key 'keepSnapshot'; did you mean 'keep_snapshots'?"),
        ("[api]\nprot = 1", "tidebook.toml: unknown key 'api.prot'; did you mean 'api.port'?"),
        ("[api]\nzzz = 1", "tidebook.toml: unknown key 'api.zzz'; known are api.host, api.port, api.allow_remote"),
        ("keep_snapshots = 3\nkeepSnapshots = 3", "tidebook.toml: 'keep_snapshots' is written twice, in two spellings"),
        (
            "keep_snapshots = 1",
            "tidebook.toml: keep_snapshots = 1: Input should be greater than or equal to 2",
        ),
        (
            "[kraken]\ndepth = 11",
            "tidebook.toml: kraken.depth = 11: no book has so many levels; choose 10, 25, 100, 500 or 1000",
        ),
        (
            '[topology]\nvenue = "fused"\n[venue]\nshards = 2',
            "tidebook.toml: venue.shards = 2 and topology.venue = 'fused': fused is one thread, and shards are more",
        ),
        (
            '[topology]\nvenue = "together"\n[venue]\nshards = 3',
            "tidebook.toml: venue.shards = 3 and topology.venue = 'together': together is one thread, and shards are more",
        ),
        (
            '[topology]\nvenue = "together"\nmarketData = "process"',
            "tidebook.toml: topology.market_data = 'process' and topology.venue = 'together': together is one thread of the node for both",
        ),
        ('[venue]\ntopology = "fused"', "tidebook.toml: unknown key 'venue.topology'; it is 'topology.venue' now"),
        ('[audit]\ntopology = "thread"', "tidebook.toml: unknown key 'audit.topology'; it is 'topology.audit' now"),
        (
            '[analytics]\ntopology = "process"',
            "tidebook.toml: unknown key 'analytics.topology'; it is 'topology.analytics' now",
        ),
        ('[topology]\nvenu = "fused"', "tidebook.toml: unknown key 'topology.venu'; did you mean 'topology.venue'?"),
        (
            '[topology]\naudit = "split"',
            "tidebook.toml: topology.audit = 'split': Input should be 'thread' or 'process'",
        ),
        ("x = ", "tidebook.toml: is no TOML: Invalid value (at end of document)"),
        ("api = 3", "tidebook.toml: api = 3: Input should be a valid dictionary or instance of ApiSettings"),
    ],
)
def test_a_mistake_in_the_file_is_one_line_with_its_remedy(text: str, message: str) -> None:
    written(text)
    with pytest.raises(ConfigError) as caught:
        load()
    assert str(caught.value) == message


def test_a_mistake_in_the_environment_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEBOOK_API_PORT", "http")
    with pytest.raises(ConfigError, match=r"^environment TIDEBOOK_API_PORT = 'http': Input should be a valid integer"):
        load()
    monkeypatch.delenv("TIDEBOOK_API_PORT")
    monkeypatch.setenv("TIDEBOOK_KEEP_SNAPSHOT", "3")
    with pytest.raises(ConfigError, match="did you mean 'TIDEBOOK_KEEP_SNAPSHOTS'"):
        load()


@pytest.mark.parametrize("engine", ["VENUE", "AUDIT", "ANALYTICS"])
def test_a_variable_that_has_another_name_now_is_told_that_name(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"TIDEBOOK_{engine}_TOPOLOGY", "thread")
    with pytest.raises(ConfigError) as caught:
        load()
    assert str(caught.value) == (
        f"environment: unknown variable 'TIDEBOOK_{engine}_TOPOLOGY'; it is 'TIDEBOOK_TOPOLOGY_{engine}' now"
    )


@pytest.mark.parametrize(
    ("text", "variables", "blamed"),
    [
        ("[venue]\nshards = 2", ("TIDEBOOK_TOPOLOGY_VENUE",), "environment TIDEBOOK_TOPOLOGY_VENUE and tidebook.toml"),
        (
            "[topology]\nvenue = 'fused'",
            ("TIDEBOOK_VENUE_SHARDS",),
            "tidebook.toml and environment TIDEBOOK_VENUE_SHARDS",
        ),
        (
            "keep_snapshots = 3",
            ("TIDEBOOK_TOPOLOGY_VENUE", "tidebook_venue_shards"),
            "environment TIDEBOOK_TOPOLOGY_VENUE and environment tidebook_venue_shards",
        ),
    ],
)
def test_settings_that_do_not_go_together_are_told_with_where_each_was_written(
    text: str, variables: tuple[str, ...], blamed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(text)
    for variable in variables:
        monkeypatch.setenv(variable, "2" if variable.lower().endswith("shards") else "fused")
    with pytest.raises(ConfigError) as caught:
        load()
    assert str(caught.value) == (
        f"{blamed}: venue.shards = 2 and topology.venue = 'fused': fused is one thread, and shards are more"
    )


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("ws_url", "ws://[::1", "is no address: Invalid IPv6 URL"),
        ("ws_url", "ws://127.0.0.1:99999", "is no address: Port out of range 0-65535"),
        ("ws_url", "ws://127.0.0.1:0", "is no address: port 0 takes no connections"),
        ("ws_url", "ws://", "an address names a host"),
        ("ws_url", "ws://:9443", "an address names a host"),
        ("ws_url", "http://x", "an address begins with ws://, wss://"),
        ("ws_url", "", "an address begins with ws://, wss://"),
        ("ws_url", "ws://a b", "an address has no spaces"),
        ("rest_url", "http://[::1", "is no address: Invalid IPv6 URL"),
        ("rest_url", "ws://x", "an address begins with http://, https://"),
        ("stalled_after_s", "inf", "Input should be less than or equal to 3600"),
        ("stalled_after_s", "nan", "Input should be less than or equal to 3600"),
    ],
)
def test_what_no_feed_can_be_connected_by_is_named_before_it_tries(
    key: str, value: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for table in ("binance", "binance_usdm", "coinbase", "coinbase_advanced", "kraken"):
        with monkeypatch.context() as only:
            variable = f"TIDEBOOK_{table}_{key}".upper()
            only.setenv(variable, value)
            with pytest.raises(ConfigError) as caught:
                load()
            assert str(caught.value) == f"environment {variable} = {value!r}: {message}"


def test_every_key_is_read_somewhere_or_says_that_it_is_not(root: Path) -> None:
    code = "\n".join(
        path.read_text() for path in (root / "python/tidebook").rglob("*.py") if path.parent.name != "config"
    )
    for key in keys():
        table, _, name = key.name.rpartition(".")
        obeyed = re.search(rf"\b((settings|section)(\.{table})?|topology)\.{name}\b", code)
        assert bool(obeyed) != ((table or name) in NOT_IN_EFFECT), key.name


def test_keys_without_effect_are_named_when_somebody_sets_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """There are none now; the next ones are named before what they steer is built."""
    monkeypatch.setattr("tidebook.config.settings.NOT_IN_EFFECT", ("keep_snapshots",))
    Path("tidebook.toml").write_text('keep_snapshots = 3\ndata_directory = "/d"\n')
    assert load().without_effect() == ("keep_snapshots",)
    Path("tidebook.toml").write_text('data_directory = "/d"\n')
    assert load().without_effect() == ()


def test_every_key_is_described_and_the_page_is_the_one_generated(root: Path) -> None:
    assert all(key.description.endswith(".") for key in keys())
    assert (root / "docs/settings.md").read_text() == keys_page(), (
        "run: tidebook config keys --markdown > docs/settings.md"
    )
