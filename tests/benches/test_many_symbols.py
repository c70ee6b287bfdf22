"""The bench of many symbols still runs, and loses nothing; its goals are judged by `make bench` on a quiet machine."""

from benches.harness import Bench
from benches.many_symbols import many_symbols


def test_a_node_of_three_venues_holds_every_message_that_they_sent() -> None:
    bench = Bench("feeds", small=True)
    many_symbols(bench)
    values = {figure.name.rpartition(", ")[2]: figure.value for figure in bench.figures}
    assert values.keys() == {"processor", "a message", "messages lost", "gaps and faults"}
    assert (values["messages lost"], values["gaps and faults"]) == (0, 0)
    assert values["a message"] > 0
