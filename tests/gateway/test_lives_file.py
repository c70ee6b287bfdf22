"""The lives of orders are kept in a file: a start goes on from it, and from the first command where it is none of this journal."""

import asyncio
import itertools
import random
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from tests.gateway.serving import Served, served
from tests.gateway.test_lives import REMEMBERED, Both, random_command
from tests.node.test_live import wait_for
from tidebook import venue as v
from tidebook.gateway import lives_file
from tidebook.gateway.lives import Lives
from tidebook.gateway.lives_file import LivesFileError, Picture, Saved
from tidebook.node.hosted_venue import HostedVenue
from tidebook.venue import Session

if TYPE_CHECKING:
    from collections.abc import Iterator


def busy(seed: int, count: int) -> tuple[Both, bytes]:
    """A venue with lives behind random commands, and the last of these as journaled."""
    both, random_ = Both(), random.Random(seed)
    done = None
    for number in range(count):
        command = random_command(random_, both, number)
        command["ts"] = number * 1_000
        done = both.submit(command)
        if number % 300 == 200:
            both.submit(v.session(1, random_.choice((Session.AUCTION, Session.CONTINUOUS))))
    done = both.submit(v.timer(count * 1_000))
    return both, bytes(done.commands[-1].tobytes())


def test_lives_from_a_file_are_those_that_were_written_and_go_on_the_same(tmp_path: Path) -> None:
    """Method: random commands of every kind; the file is written, both go on with the same ones, and all they know is compared."""
    both, last = busy(3, 1_500)
    path = tmp_path / "venue" / "lives"
    Picture(both.lives, both.venue.sequence, last).write(path)
    saved = Saved(path)
    assert saved.sequence == both.venue.sequence
    again = saved.lives(last, both.venue, REMEMBERED)
    assert again.everything() == both.lives.everything()
    other, random_ = Both(), random.Random(4)
    other.venue, other.lives = both.venue.fork(), again
    for number in range(1_500, 2_000):
        command = random_command(random_, both, number)
        command["ts"] = number * 1_000
        both.submit(command)
        other.submit(command)
    both.check()
    assert other.lives.everything() == both.lives.everything()
    # Who is to remember less does.
    fewer = Lives.of(both.lives.everything(), 10)
    assert [order.order_id for order in fewer.ended_orders(1, 10)] == [
        order.order_id for order in both.lives.ended_orders(1, REMEMBERED) if order.order_id in fewer.orders
    ]


def test_a_picture_is_of_its_command_whatever_happens_before_it_is_written(tmp_path: Path) -> None:
    both, last = busy(5, 300)
    venue, known = both.venue.fork(), both.lives.everything()
    picture = Picture(both.lives, both.venue.sequence, last)
    random_ = random.Random(6)
    for number in range(300, 600):
        both.submit(random_command(random_, both, number))
    picture.write(tmp_path / "lives")
    assert Saved(tmp_path / "lives").lives(last, venue, REMEMBERED).everything() == known


def test_what_changes_while_a_picture_is_read_is_in_it_as_it_was() -> None:
    """Method: everything is read in pieces; behind each, orders change, end and are forgotten, and ids go from one to another."""
    both, random_ = Both(remembered=40), random.Random(11)

    def trade(number: int) -> None:
        name, account = f"{random_.randint(0, 60)}", random_.choice((1, 2))
        side, size = random_.choice((v.Side.BUY, v.Side.SELL)), random_.randint(1, 9)
        price = 1_000 - side * random_.randint(-1, 20)
        named = both.lives.order_of(account, v.client_order_id(name))
        if named is not None and random_.random() < 0.3:
            both.submit(v.cancel(account, 1, named.order_id))
        elif named is not None and random_.random() < 0.5:
            both.submit(v.replace(account, 1, named.order_id, price, size, client_order_id=f"{number % 90}"))
        else:
            both.submit(v.place(account, 1, side, price, size, client_order_id=name))

    for number in range(400):
        trade(number)
    for begin in range(400, 2_000, 400):
        known, past = both.lives.everything(), both.lives.past()
        assert min(len(known.ended), len(known.open), len(known.ids), len(known.fills)) > 8
        parts: dict[str, Iterator[Any]] = {
            "ended": past.ended(),
            "open": past.open(),
            "ids": past.ids(),
            "fills": past.fills(),
        }
        found: dict[str, list[Any]] = {part: [] for part in parts}
        number = begin
        while parts:
            part = random_.choice(list(parts))
            piece = list(itertools.islice(parts[part], 5))
            found[part] += map(copy, piece)
            if not piece:
                del parts[part]
            for _ in range(3):
                trade(number)
                number += 1
        assert found == {part: getattr(known, part) for part in found}
        # Once nobody looks back any more nothing is kept for it.
        del past, parts
        assert both.lives._pasts == []


async def test_a_node_that_cannot_keep_lives_any_more_says_so_and_trades_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = asyncio.Event()

    async def broken(_: HostedVenue) -> None:
        failed.set()
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr(HostedVenue, "keep_lives", broken)
    with capture_logs() as said:
        async with served(tmp_path) as at:
            await at.begin()
            await failed.wait()
            assert (await at.place("alice", "buy", "0.1", "100"))["order"]["state"] == "open"
    (told,) = (event for event in said if event["log_level"] == "error")
    assert "lives of orders are not kept any more" in told["event"]
    assert told["reason"] == "RuntimeError: a mistake of ours"


def test_a_file_that_is_damaged_or_of_other_commands_is_none(tmp_path: Path) -> None:
    both, last = busy(7, 300)
    path = tmp_path / "lives"
    Picture(both.lives, both.venue.sequence, last).write(path)
    whole = path.read_bytes()
    for at in (len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(LivesFileError, match="damaged"):
            Saved(path)
    path.write_bytes(whole[:-1])
    with pytest.raises(LivesFileError, match="damaged"):
        Saved(path)
    path.write_bytes(whole.replace(b'"version":2', b'"version":3', 1))
    with pytest.raises(LivesFileError, match="version 3"):
        Saved(path)
    path.write_bytes(whole)
    with pytest.raises(LivesFileError, match="another one"):
        Saved(path).lives(bytes(128), both.venue, REMEMBERED)
    both.submit(v.place(1, 1, v.Side.BUY, 1_000, 1))
    with pytest.raises(LivesFileError, match="is another in the venue"):
        Saved(path).lives(last, both.venue, REMEMBERED)


def test_a_file_whose_rows_have_another_shape_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a release that forgot to count its version up."""
    both, last = busy(7, 300)
    path = tmp_path / "lives"
    row_of = lives_file._row
    for more in ([0], ["", None]):
        monkeypatch.setattr(lives_file, "_row", lambda order, more=more: row_of(order) + more)
        Picture(both.lives, both.venue.sequence, last).write(path)
        with pytest.raises(LivesFileError, match="rows of another shape"):
            Saved(path).lives(last, both.venue, REMEMBERED)


async def begun(at: Served) -> dict[str, Any]:
    """Some orders, of which some are filled or cancelled."""
    await at.begin()
    for number in range(10):
        await at.place("alice", "buy", "0.1", str(100 + number), client_order_id=f"a{number}")
    await at.place("bob", "sell", "0.25", "100")
    await at.ask("DELETE", "accounts/alice/client-orders/a0")
    return await picture(at)


async def picture(at: Served) -> dict[str, Any]:
    paths = ("orders", "orders?state=ended", "fills", "positions", "balances")
    return {f"{who}/{path}": await at.get(f"accounts/{who}/{path}") for who in ("alice", "bob") for path in paths}


async def test_a_start_reads_no_more_of_orders_than_came_since_lives_were_kept(tmp_path: Path) -> None:
    """Method: the second run is killed as far as its file goes: that of the first stays."""
    lives = tmp_path / "data/venue/lives"
    async with served(tmp_path) as at:
        await begun(at)
    kept = lives.read_bytes()
    async with served(tmp_path) as at:
        assert at.venue.read_count == 0
        # And the engine replays nothing: the end took a snapshot.
        assert at.venue.engine.recovery["state"]["tail_count"] == 0
        assert at.venue.engine.recovery["state"]["used"]["place"]["sequence"] == at.venue.follower.sequence
        await at.place("alice", "buy", "0.1", "90", client_order_id="later")
        again = await at.place("alice", "buy", "0.1", "105", client_order_id="a5")
        assert again["repeated"] is True
        before = await picture(at)
    lives.write_bytes(kept)
    async with served(tmp_path) as at:
        assert at.venue.read_count == 1
        assert await picture(at) == before
        assert (await at.get("venue"))["state_hash"] == f"{at.venue.follower.venue.state_hash():016x}"


async def test_lives_are_kept_while_the_node_runs_and_only_what_is_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Method: every write is looked at: by then the journal has synced the command that it stands behind."""
    written: asyncio.Queue[tuple[int, int]] = asyncio.Queue()
    async with served(tmp_path) as at:
        await begun(at)
        write, loop = Picture.write, asyncio.get_running_loop()

        def told(picture: Picture, path: Path) -> None:
            write(picture, path)
            loop.call_soon_threadsafe(written.put_nowait, (picture.sequence, at.venue.engine.status()["durable"]))

        monkeypatch.setattr(Picture, "write", told)
        monkeypatch.setattr(at.venue, "_lives_interval_s", 0.01)
        keeping = asyncio.create_task(at.venue.keep_lives())
        for number in range(3):
            placed = await at.place("alice", "buy", "0.1", str(50 + number))
            while True:
                sequence, durable = await written.get()
                assert sequence <= durable
                if sequence == placed["sequence"]:
                    break
            assert Saved(tmp_path / "data/venue/lives").sequence == sequence
            # Nobody has a picture any more that lives would keep something for.
            await asyncio.to_thread(wait_for, lambda: not at.venue.follower.lives._pasts)
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        monkeypatch.undo()


@pytest.mark.parametrize("what", ["gone", "damaged", "of another journal"])
async def test_a_start_without_its_lives_reads_all_of_orders(tmp_path: Path, what: str) -> None:
    lives = tmp_path / "data/venue/lives"
    async with served(tmp_path) as at:
        before = await begun(at)
        sequence = (await at.get("venue"))["sequence"]
    if what == "gone":
        lives.unlink()
    elif what == "damaged":
        lives.write_bytes(lives.read_bytes()[:-1])
    else:
        async with served(tmp_path / "other") as at:
            await begun(at)
        lives.write_bytes((tmp_path / "other/data/venue/lives").read_bytes())
    async with served(tmp_path) as at:
        assert at.venue.read_count == sequence
        assert await picture(at) == before
