"""Rings of a node that is given another data directory."""

from pathlib import Path

from tidebook.node.rings import forget_other_journals
from tidebook.transport import ChannelOptions, create_channel


def test_derived_rings_stay_with_their_journal_and_go_with_another(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    create_channel("md.trades", ChannelOptions(schema="trades"), directory=tmp_path)
    create_channel("feed.binance", directory=tmp_path)
    forget_other_journals(tmp_path, "a")
    assert [path.name for path in tmp_path.glob("*.ring")] == ["feed.binance.ring"]
    create_channel("md.trades", ChannelOptions(schema="trades"), directory=tmp_path)
    forget_other_journals(tmp_path, "a")
    assert len(list(tmp_path.glob("*.ring"))) == 2
    forget_other_journals(tmp_path, "b")
    assert [path.name for path in tmp_path.glob("*.ring")] == ["feed.binance.ring"]
