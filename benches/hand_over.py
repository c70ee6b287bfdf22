"""64 bytes from one Python process to another and back, by us and by what Python programs use instead.

`benches/transport_in_python.py` starts one process per way as `python -m benches.hand_over WAY DIRECTORY`; it reads numbers
of messages and echoes so many. Everyone hands over `bytes` and gets `bytes`. iceoryx2 and we poll without sleeping; ZeroMQ
and pipes have no way to and wait in the kernel.
"""

import ctypes
import sys
from importlib import import_module
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from typing import Any, Protocol

from tidebook.transport import Batch, ChannelOptions, create_channel, open_consumer, open_producer

SIZE_BYTES = 64
MESSAGE = bytes([1]) * SIZE_BYTES


class End(Protocol):
    """One end of a two-way connection."""

    def send(self, message: bytes) -> None:
        """Hands a message to the other end."""
        ...

    def receive(self) -> bytes:
        """The other end's next message; waits for it."""
        ...

    def send_many(self, count: int) -> None:
        """As the way's own users would send so many messages."""
        ...

    def receive_many(self, count: int) -> None:
        """As they would take so many that are there."""
        ...


class Rings:
    def __init__(self, directory: Path, out: str, back: str) -> None:
        options = ChannelOptions(buffer_size=1 << 18)
        self._producer = open_producer(create_channel(out, options, directory=directory))
        channel = create_channel(back, options, directory=directory)
        self._consumer = open_consumer(channel, "reader", start="earliest", wait="spin")
        self._received: list[bytes] = []

    def send(self, message: bytes) -> None:
        self._producer.write(message)

    def receive(self) -> bytes:
        self._consumer.poll(self._take, 1, None)
        return self._received.pop()

    def _take(self, _sequence: int, message: bytes) -> None:
        self._received.append(message)

    def send_many(self, count: int) -> None:
        write = self._producer.write
        for _ in range(count):
            write(MESSAGE)

    def receive_many(self, count: int) -> None:
        batch = self._consumer.poll_batch(count)
        assert isinstance(batch, Batch)
        assert len(batch.messages()) == count


class OneByOne:
    """A way that has no batches."""

    def send(self, message: bytes) -> None:
        raise NotImplementedError

    def receive(self) -> bytes:
        raise NotImplementedError

    def send_many(self, count: int) -> None:
        send = self.send
        for _ in range(count):
            send(MESSAGE)

    def receive_many(self, count: int) -> None:
        receive = self.receive
        for _ in range(count):
            receive()


class ZeroMq(OneByOne):
    def __init__(self, directory: Path, out: str, _back: str) -> None:
        zmq: Any = import_module("zmq")
        self._socket = zmq.Context.instance().socket(zmq.PAIR)
        (self._socket.bind if out == "out" else self._socket.connect)(f"ipc://{directory}/zeromq")

    def send(self, message: bytes) -> None:
        self._socket.send(message)

    def receive(self) -> bytes:
        message: bytes = self._socket.recv()
        return message


class Pipe(OneByOne):
    """What `multiprocessing.Pipe()` gives, between processes that are no relatives."""

    def __init__(self, directory: Path, out: str, _back: str) -> None:
        path = str(directory / "pipe")
        self._listener = Listener(path, "AF_UNIX") if out == "out" else None
        self._connection = None if out == "out" else Client(path, "AF_UNIX")

    @property
    def _end(self) -> "Connection[bytes, bytes]":
        if self._connection is None:
            assert self._listener is not None
            self._connection = self._listener.accept()
        return self._connection

    def send(self, message: bytes) -> None:
        self._end.send_bytes(message)

    def receive(self) -> bytes:
        return self._end.recv_bytes()


class Payload(ctypes.Structure):
    _fields_ = (("bytes", ctypes.c_uint8 * SIZE_BYTES),)


class Iceoryx2(OneByOne):
    def __init__(self, directory: Path, out: str, back: str) -> None:
        iox2: Any = import_module("iceoryx2")
        iox2.set_log_level(iox2.LogLevel.Error)
        self._node = iox2.NodeBuilder.new().create(iox2.ServiceType.Ipc)

        def service(name: str) -> Any:
            full = iox2.ServiceName.new(f"tidebook-bench/{directory.parent.name}/{directory.name}/{name}")
            builder = self._node.service_builder(full).publish_subscribe(Payload)
            return builder.enable_safe_overflow(False).subscriber_max_buffer_size(1024).open_or_create()

        self._publisher = service(out).publisher_builder().create()
        self._subscriber = service(back).subscriber_builder().create()

    def send(self, message: bytes) -> None:
        self._publisher.send_copy(Payload.from_buffer_copy(message))

    def receive(self) -> bytes:
        while (sample := self._subscriber.receive()) is None:
            pass
        return bytes(sample.payload().contents)


WAYS: dict[str, type[Any]] = {
    "ours": Rings,
    "iceoryx2": Iceoryx2,
    "pyzmq ipc": ZeroMq,
    "multiprocessing.Pipe": Pipe,
}


def connect(way: str, directory: Path, out: str, back: str) -> End:
    """Raises: ImportError when the peer is not installed."""
    end: End = WAYS[way](directory, out, back)
    return end


def main() -> None:
    way, directory = sys.argv[1:]
    end = connect(way, Path(directory), "back", "out")
    print("ready", flush=True)
    for line in sys.stdin:
        for _ in range(int(line)):
            end.send(end.receive())


if __name__ == "__main__":
    main()
