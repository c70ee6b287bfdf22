"""Who may have a channel: its user, a group if it was made for one, nobody else."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import tidebook as tb
from tidebook.errors import ChannelAccessError, ChannelUsageError
from tidebook.transport.channel import make_private

# Users and groups that are nobody's on this machine.
MEMBER, OTHER_MEMBER, STRANGER, GROUP = 54_301, 54_302, 54_303, 54_310

JOIN = """
import os, sys
import tidebook as tb
uid, group, directory = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
open_channel, open_producer, Error = tb.open_channel, tb.open_producer, tb.TidebookError  # while its files can be read
if os.geteuid() == 0:
    os.setgroups([group] if uid != int(sys.argv[4]) else [])
    os.setgid(uid)
    os.setuid(uid)
try:
    channel = open_channel("orders", directory=directory, group=group)
    with open_producer(channel) as producer:
        print(producer.write(b"from %d" % uid))
except (Error, OSError) as error:
    print(type(error).__name__)
"""


def joined(user: int, group: int, directory: Path) -> str:
    """What comes of opening the channel as this user, who has the group unless he is the stranger."""
    command = [sys.executable, "-c", JOIN, str(user), str(group), str(directory), str(STRANGER)]
    shown = subprocess.run(command, capture_output=True, text=True, check=False)
    assert shown.stderr == "", shown.stderr
    return shown.stdout.strip()


def test_members_of_a_group_share_a_channel_and_strangers_do_not(rings: Path) -> None:
    """Method: as root, processes that become members and a stranger; any other user is a member of his own group only."""
    is_root = os.geteuid() == 0
    group = GROUP if is_root else os.getegid()
    rings.chmod(0o711)  # to be entered
    directory = rings / "desk"
    options = tb.ChannelOptions(mode="mpsc", group=group)
    channel = tb.create_channel("orders", options, directory=directory)
    assert (channel.path.stat().st_mode & 0o777, directory.stat().st_mode & 0o777) == (0o660, 0o770)
    assert (channel.path.stat().st_gid, directory.stat().st_gid) == (group, group)
    assert joined(MEMBER, group, directory) == "1"
    assert joined(OTHER_MEMBER, group, directory) == "2"
    with tb.open_consumer(channel, "engine", start="earliest") as engine:
        batch = engine.poll_batch()
        assert isinstance(batch, tb.Batch)
        assert batch.messages() == [b"from %d" % MEMBER, b"from %d" % OTHER_MEMBER]
    if is_root:
        assert joined(STRANGER, group, directory) == "ChannelError"
    # The same options find it again; without the group it is one that others can write.
    assert tb.create_channel("orders", options, directory=directory).status()["published"] == 2
    with pytest.raises(ChannelAccessError, match=rf"directory {directory} can be written by group {group}"):
        tb.open_channel("orders", directory=directory)


def test_a_ring_others_can_write_is_refused_unless_that_is_allowed(rings: Path) -> None:
    channel = tb.create_channel("ticks", directory=rings)
    channel.path.chmod(0o666)
    with pytest.raises(
        ChannelAccessError, match=r"ticks.ring can be written by everybody \(mode 0666\).*allow_others"
    ) as error:
        tb.open_channel("ticks", directory=rings)
    assert error.value.facts["path"] == str(channel.path)
    with pytest.raises(ChannelAccessError):
        tb.create_channel("ticks", directory=rings)
    assert tb.open_channel("ticks", directory=rings, allow_others=True).status()["published"] == 0


def test_a_group_that_is_not_there_is_refused_by_name(rings: Path) -> None:
    with pytest.raises(ChannelUsageError, match="group = 'nosuchgroup': there is no such group"):
        tb.create_channel("ticks", tb.ChannelOptions(group="nosuchgroup"), directory=rings)
    assert list(rings.iterdir()) == []


def test_directories_of_rings_are_private_whatever_the_umask(rings: Path) -> None:
    before = os.umask(0o002)
    try:
        make_private(rings / "a" / "b")
        channel = tb.create_channel("ticks", directory=rings / "c" / "d")
    finally:
        os.umask(before)
    modes = {path.stat().st_mode & 0o777 for path in rings.rglob("*") if path.is_dir()}
    assert (modes, channel.path.stat().st_mode & 0o777) == ({0o700}, 0o600)
