"""A campaign of faults on each venue: what is found is healed, and in the end every book is the venue's own."""

import asyncio
import gc
import random
from pathlib import Path

import pytest

from tests.feeds.venue_feed import VenueFeed, running_venue
from tidebook.feeds.registry import FEEDS

ENDS = ("disconnect", "close")
LOSSES = ("drop", "reorder", "malformed")
# What each venue's own means can find: chains on Binance, checksums on Kraken, numbers on Advanced Trade. Coinbase Exchange
# has nothing of the kind for its books, so of its faults only those are tried that damage or end something visibly.
FAULTS = {
    "binance": ENDS + LOSSES,
    "binance-usdm": ENDS + LOSSES,
    "coinbase": (*ENDS, "malformed"),
    "coinbase-advanced": (*ENDS, *LOSSES, "sequence"),
    "kraken": (*ENDS, *LOSSES, "checksum"),
}
BOOK_STREAMS = {
    "binance": "*@depth*",
    "binance-usdm": "*@depth*",
    "coinbase": "level2*",
    "coinbase-advanced": "level2:*",
    "kraken": "book-*",
}


# Kraken's checksum covers the ten best levels: a lost change of another one is found by nothing until it comes up.
PROVEN_LEVELS = {"kraken": 10}


async def campaign(feed: VenueFeed, rounds: int, choose: random.Random) -> None:
    venue = feed.connector.protocol.venue
    for _ in range(rounds):
        kind = choose.choice(FAULTS[venue])
        stream = "*" if kind in (*ENDS, "sequence") else BOOK_STREAMS[venue]
        await feed.fault(kind=kind, stream=stream, count=choose.randint(1, 2))
        await feed.until(lambda: not feed.simulator.faults.pending, seconds=30)
        await asyncio.sleep(choose.uniform(0.0, 0.3))
        feed.read()
    await asyncio.sleep(0.5)
    # On Binance a hundred snapshots use up the minute's weight, and the next one waits for the next minute.
    await feed.until(feed.ready, seconds=90)
    await feed.equals_the_venue(levels=PROVEN_LEVELS.get(venue, 100))


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def run_campaign(venue: str, rounds: int, seed: int) -> None:
    symbols = FEEDS[venue].default_symbols
    before = open_files()
    async with running_venue(venue, symbols, stable_after_s=0.0, symbols_per_connection=1) as feed:
        await feed.until(feed.ready)
        await campaign(feed, rounds, random.Random(seed))
        assert feed.connector.status().session_count > len(symbols)
    gc.collect()
    await asyncio.sleep(0.1)
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []
    assert open_files() == before


@pytest.mark.parametrize("venue", FEEDS)
async def test_after_a_campaign_of_faults_every_book_is_the_venues_own(venue: str) -> None:
    await run_campaign(venue, rounds=10, seed=5)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("venue", FEEDS)
async def test_after_a_long_campaign_of_faults_every_book_is_the_venues_own(venue: str, seed: int) -> None:
    await run_campaign(venue, rounds=100, seed=seed)
