"""64 bytes from a task of one Python process to a task of another and back, both asleep in their event loops before.

`benches/transport_in_python.py` starts one process per way as `python -m benches.wake_a_task WAY DIRECTORY`; it echoes until it
is killed. Everyone waits in the kernel: what is measured is a waking, not a poll.
"""

import asyncio
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from tidebook.transport import Batch, ChannelOptions, create_channel, open_consumer, open_producer

SIZE_BYTES = 64


class End(Protocol):
    """One end of a two-way connection."""

    async def send(self, message: bytes) -> None:
        """Hands a message to the other end."""
        ...

    async def receive(self) -> bytes:
        """The other end's next message."""
        ...


class Rings:
    def __init__(self, directory: Path, out: str, back: str) -> None:
        options = ChannelOptions(buffer_size=1 << 18)
        self._producer = open_producer(create_channel(out, options, directory=directory))
        create_channel(back, options, directory=directory)
        self._consumer = open_consumer(back, "reader", directory=directory)

    async def send(self, message: bytes) -> None:
        self._producer.write(message)

    async def receive(self) -> bytes:
        batch = await self._consumer.next_batch(1)
        assert isinstance(batch, Batch)
        return batch.messages()[0]


class ZeroMq:
    def __init__(self, directory: Path, out: str, _back: str) -> None:
        zmq: Any = import_module("zmq.asyncio")
        self._socket = zmq.Context.instance().socket(import_module("zmq").PAIR)
        (self._socket.bind if out == "out" else self._socket.connect)(f"ipc://{directory}/zeromq")

    async def send(self, message: bytes) -> None:
        await self._socket.send(message)

    async def receive(self) -> bytes:
        message: bytes = await self._socket.recv()
        return message


class Fifos:
    """Two named pipes, as asyncio's own streams."""

    def __init__(self, directory: Path, out: str, back: str) -> None:
        self._out, self._back = directory / out, directory / back
        for path in (self._out, self._back):
            if not path.exists():
                import_module("os").mkfifo(path)
        # For reading and writing: opening a pipe waits for its other end.
        self._writing = self._out.open("r+b", buffering=0)
        self._reader: asyncio.StreamReader | None = None

    async def send(self, message: bytes) -> None:
        self._writing.write(message)

    async def receive(self) -> bytes:
        if self._reader is None:
            self._reader = asyncio.StreamReader()
            protocol = asyncio.StreamReaderProtocol(self._reader)
            pipe = self._back.open("r+b", buffering=0)
            await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, pipe)
        return await self._reader.readexactly(SIZE_BYTES)


WAYS: dict[str, type[Any]] = {"ours": Rings, "asyncio pipe": Fifos, "pyzmq ipc": ZeroMq}


def connect(way: str, directory: Path, out: str, back: str) -> End:
    """Raises: ImportError when the peer is not installed."""
    end: End = WAYS[way](directory, out, back)
    return end


async def main() -> None:
    way, directory = sys.argv[1:]
    end = connect(way, Path(directory), "back", "out")
    print("ready", flush=True)
    while True:
        await end.send(await end.receive())


if __name__ == "__main__":
    asyncio.run(main())
