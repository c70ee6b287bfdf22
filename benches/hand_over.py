"""64 bytes from one Python process to another and back, by us and by what Python programs use instead.

`benches/transport.py` starts one process per way as `python -m benches.hand_over WAY DIRECTORY`; it echoes until it
is killed. Everyone hands over `bytes` and gets `bytes`. iceoryx2 and we poll
without sleeping; ZeroMQ has no way to and waits in the kernel.
"""

import ctypes
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from tidebook.transport import ChannelOptions, create_channel, open_consumer, open_producer

SIZE_BYTES = 64


class End(Protocol):
    """One end of a two-way connection."""

    def send(self, message: bytes) -> None:
        """Hands a message to the other end."""
        ...

    def receive(self) -> bytes:
        """The other end's next message; waits for it."""
        ...


class Rings:
    def __init__(self, directory: Path, out: str, back: str) -> None:
        options = ChannelOptions(buffer_size=1 << 18, parking=False)
        self._producer = open_producer(create_channel(out, options, directory=directory))
        create_channel(back, options, directory=directory)
        self._consumer = open_consumer(back, "reader", wait="spin", directory=directory)
        self._received: list[bytes] = []

    def send(self, message: bytes) -> None:
        self._producer.write(message)

    def receive(self) -> bytes:
        self._consumer.poll(self._take, 1, None)
        return self._received.pop()

    def _take(self, _sequence: int, message: bytes) -> None:
        self._received.append(message)


class ZeroMq:
    def __init__(self, directory: Path, out: str, _back: str) -> None:
        zmq: Any = import_module("zmq")
        self._socket = zmq.Context.instance().socket(zmq.PAIR)
        (self._socket.bind if out == "out" else self._socket.connect)(f"ipc://{directory}/zeromq")

    def send(self, message: bytes) -> None:
        self._socket.send(message)

    def receive(self) -> bytes:
        message: bytes = self._socket.recv()
        return message


class Payload(ctypes.Structure):
    _fields_ = (("bytes", ctypes.c_uint8 * SIZE_BYTES),)


class Iceoryx2:
    def __init__(self, directory: Path, out: str, back: str) -> None:
        iox2: Any = import_module("iceoryx2")
        iox2.set_log_level(iox2.LogLevel.Error)
        self._node = iox2.NodeBuilder.new().create(iox2.ServiceType.Ipc)

        def service(name: str) -> Any:
            full = iox2.ServiceName.new(f"tidebook-bench/{directory.name}/{name}")
            return self._node.service_builder(full).publish_subscribe(Payload).open_or_create()

        self._publisher = service(out).publisher_builder().create()
        self._subscriber = service(back).subscriber_builder().create()

    def send(self, message: bytes) -> None:
        self._publisher.send_copy(Payload.from_buffer_copy(message))

    def receive(self) -> bytes:
        while (sample := self._subscriber.receive()) is None:
            pass
        return bytes(sample.payload().contents)


WAYS: dict[str, type[Any]] = {"ours": Rings, "iceoryx2": Iceoryx2, "pyzmq ipc": ZeroMq}


def connect(way: str, directory: Path, out: str, back: str) -> End:
    """Raises: ImportError when the peer is not installed."""
    end: End = WAYS[way](directory, out, back)
    return end


def main() -> None:
    way, directory = sys.argv[1:]
    end = connect(way, Path(directory), "back", "out")
    print("ready", flush=True)
    while True:
        end.send(end.receive())


if __name__ == "__main__":
    main()
