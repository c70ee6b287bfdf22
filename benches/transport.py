"""Messages of 64 bytes between processes: handed over, streamed, from many producers, to many consumers.

Measured in Rust (`benches/ends.py`), because Python would be all one sees at 50 ns, beside a bare ring, which nobody can
beat, iceoryx2 and Aeron's C client; and in Python (`benches/transport_in_python.py`) beside what Python programs use
instead. What each figure means: `docs/transport-speed.md`.
"""

import subprocess
import tempfile

from benches.ends import (
    HAND_OVER,
    MANY_PRODUCERS,
    RIVALS,
    ROOT,
    STREAM,
    Role,
    Way,
    cost,
    fan_out,
    in_turn,
    one_way,
    rate,
)
from benches.harness import Bench, times_better, within
from benches.transport_in_python import hand_over, wake_a_task, write_and_take

SHARED_MEMORY = "/dev/shm"
BARE, BARE_WITH_CRC, ICEORYX2, AERON = "bare ring", "bare ring with CRC", "iceoryx2", "Aeron C"
CONSUMERS = 64


def run(bench: Bench) -> None:
    profile = bench.size("release", "debug")
    build = ["cargo", "build", "-q", "-p", "tidebook-ring", "--example", "transport"]
    subprocess.run(build + ["--release"] * (profile == "release"), cwd=ROOT, check=True)
    with tempfile.TemporaryDirectory(prefix="tidebook-bench-", dir=SHARED_MEMORY) as directory:
        ours = Ours(bench, directory, profile)
        ours.hand_over()
        ours.stream()
        ours.many_producers()
        ours.many_consumers()
        hand_over(bench, directory)
        wake_a_task(bench, directory)
        write_and_take(bench, directory)


class Ours:
    """The figures of what is written in Rust."""

    def __init__(self, bench: Bench, directory: str, profile: str) -> None:
        self._bench = bench
        self._directory = directory
        self._program = ROOT / "target" / profile / "examples/transport"

    def _way(self, word: str, roles: tuple[Role, ...]) -> Way:
        return Way(self._program, word, roles)

    def _rival(self, word: str, roles: tuple[Role, ...]) -> Way:
        return Way(RIVALS / "tidebook-rivals", word, roles)

    def _all(self, roles: tuple[Role, ...]) -> dict[str, Way]:
        """Everybody with one producer: records in slots, messages in frames, and whom they are compared to."""
        return {
            "slots": self._way("slots", roles),
            "frames": self._way("frames", roles),
            BARE: self._way("bare", roles),
            BARE_WITH_CRC: self._way("bare with crc", roles),
            ICEORYX2: self._rival("iceoryx2", roles),
            AERON: self._rival("aeron", roles),
        }

    def hand_over(self) -> None:
        rounds, messages = self._bench.size((15, 50_000), (2, 100))
        said = in_turn(self._all(HAND_OVER), self._directory, rounds, messages)
        for kind, what in (("slots", "64 B handed over"), ("frames", "the same, a message of any length")):
            for share, name in ((0.5, "p50"), (0.99, "p99")):
                samples = {way: one_way(each, share) for way, each in said.items()}
                peers = {peer: samples.get(peer) for peer in (BARE, BARE_WITH_CRC, ICEORYX2, AERON)}
                goals = [within(1.15, BARE_WITH_CRC), within(1.35, BARE)]
                self._bench.figure(
                    f"{what}, {name}",
                    samples[kind],
                    peers=peers,
                    goals=goals if share == 0.5 else [within(1.4, BARE_WITH_CRC)],
                    note="one way: half a round trip between two pinned processes that poll; ours with CRC",
                )

    def stream(self) -> None:
        rounds, messages = self._bench.size((25, 500_000), (2, 1_000))
        said = in_turn(self._all(STREAM), self._directory, rounds, messages)
        rates = {way: rate(each) for way, each in said.items()}
        for kind, what in (("slots", "64 B streamed"), ("frames", "the same, messages of any length")):
            self._bench.figure(
                what,
                rates[kind],
                peers={peer: rates.get(peer) for peer in (BARE, BARE_WITH_CRC, ICEORYX2, AERON)},
                goals=[times_better(0.5, BARE), times_better(2, AERON)],
                note="one producer, one consumer, each write by itself; received, counted; ours with CRC",
            )

    def many_producers(self) -> None:
        rounds, messages = self._bench.size((25, 300_000), (2, 900))
        ways = {
            "ours": self._way("mpsc", MANY_PRODUCERS),
            ICEORYX2: self._rival("iceoryx2", MANY_PRODUCERS),
            AERON: self._rival("aeron, many producers", MANY_PRODUCERS),
        }
        said = in_turn(ways, self._directory, rounds, messages)
        rates = {way: rate(each) for way, each in said.items()}
        self._bench.figure(
            "64 B streamed by three producers",
            rates["ours"],
            peers={peer: rates.get(peer) for peer in (ICEORYX2, AERON)},
            goals=[times_better(1, ICEORYX2), times_better(1, AERON)],
            note="three processes on one processor, the consumer on another; each producer's order is checked",
        )

    def many_consumers(self) -> None:
        rounds, messages = self._bench.size((25, 51_200), (2, 512))
        one, many = "ours with 1", f"{ICEORYX2} with {CONSUMERS}"
        ways = {
            one: self._way("slots", fan_out(1)),
            "ours": self._way("slots", fan_out(CONSUMERS)),
            many: self._rival("iceoryx2", fan_out(CONSUMERS)),
        }
        said = in_turn(ways, self._directory, rounds, messages)
        costs = {way: cost(each) for way, each in said.items()}
        self._bench.figure(
            f"publish 64 B to {CONSUMERS} consumers",
            costs["ours"],
            peers={peer: costs.get(peer) for peer in (one, many)},
            goals=[within(1.3, one)],
            note="bursts of 256, after which all consumers, in another process, read them; none is lost",
        )
