"""Channels between processes: rings in shared memory, one or many producers, many consumers, each with its own cursor.

    channel = create_channel("ticks", ChannelOptions(dtype=[("price", "<i8"), ("size", "<i8")]))
    with open_producer(channel) as producer, open_consumer("ticks", "notebook") as consumer:
        producer.write_batch(records)
        with consumer.poll_batch(4096) as batch:
            batch.array["price"].mean()

A channel is a file, found by its name in the directory of its node, so any process of this user may open it. What a
ring promises and what its bytes mean: `docs/formats/ring.md`.
"""

from tidebook._core import Full, Gap
from tidebook.transport.batch import Batch
from tidebook.transport.channel import Channel, create_channel, open_channel
from tidebook.transport.checkpoints import Checkpoint, Cursor
from tidebook.transport.claim import Claim
from tidebook.transport.consumer import Consumer, open_consumer
from tidebook.transport.instruments import instruments
from tidebook.transport.options import ChannelOptions
from tidebook.transport.producer import Producer, open_producer
from tidebook.transport.tuning import Effect, Tuning, tuned

__all__ = [
    "Batch",
    "Channel",
    "ChannelOptions",
    "Checkpoint",
    "Claim",
    "Consumer",
    "Cursor",
    "Effect",
    "Full",
    "Gap",
    "Producer",
    "Tuning",
    "create_channel",
    "instruments",
    "open_channel",
    "open_consumer",
    "open_producer",
    "tuned",
]
