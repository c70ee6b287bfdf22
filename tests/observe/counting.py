"""An engine in a process of its own that counts how often it is looked at, and leaves a file when it is stopped in order."""

from pathlib import Path

import msgspec

from tidebook.observe.child import serve


class Plan(msgspec.Struct, frozen=True):
    """What it works on."""

    place: str


class Counted(msgspec.Struct, frozen=True):
    """Another one each time: all of them are told."""

    state: str
    count: int = 0
    problem: str = ""
    process: int | None = None


class Counting:
    """Has nothing to do but to be looked at."""

    def __init__(self, plan: Plan) -> None:
        self.place = Path(plan.place)
        self.count = 0

    def start(self) -> None:
        """Does nothing."""

    def stop(self) -> None:
        """Leaves a file."""
        (self.place / "stopped").touch()

    def status(self) -> Counted:
        """Was looked at once more."""
        self.count += 1
        written = self.place / "count.new"
        written.write_text(str(self.count))
        written.rename(self.place / "count")
        return Counted("following", self.count)


if __name__ == "__main__":
    serve(msgspec.json.Decoder(Plan), Counting)
