"""The command `tidebook`: one file per command, loaded only when that command runs.

Registering a command costs a line of `COMMANDS`, not its imports, so `tidebook --help` stays fast however much a
command brings along. Errors end at one place, `boundary`.
"""

from cyclopts import App

from tidebook.cli.boundary import run

# Command -> (import path of its function, its line in `tidebook --help`). The line stands here so that help imports no
# command; `tests/house/test_cli.py` holds that it is the first line of the function's docstring.
COMMANDS = {
    "audit fills": (
        "tidebook.cli.audit:fills",
        "List the newest fills, each from the side of each of its orders.",
    ),
    "audit order": (
        "tidebook.cli.audit:order",
        "Tell an order's life: what it was asked to be, every fill, how it ended.",
    ),
    "audit rebuild": (
        "tidebook.cli.audit:rebuild",
        "Drop the audit trail and derive it again from the journal; the exit code says whether the old one was the same.",
    ),
    "audit status": (
        "tidebook.cli.audit:status",
        "Say how far the audit trail reaches and what it has not got to yet; the exit code says whether it can be read.",
    ),
    "audit views": (
        "tidebook.cli.audit:views",
        "Show a view for compliance (cancels per fill, layering, wash trades, self-trade prevention); without a name, list them.",
    ),
    "backup": (
        "tidebook.cli.backup:backup",
        "Copy a data directory, also of a running node, into a directory of backups.",
    ),
    "backups": (
        "tidebook.cli.backup:list_backups",
        "List the backups of a directory; --verify reads every file of them.",
    ),
    "channel bench": (
        "tidebook.cli.channel.bench:bench",
        "Measure on this machine: hand-over between processes, throughput, calls from Python.",
    ),
    "channel cursor ls": (
        "tidebook.cli.channel.cursor:ls",
        "List the consumers of channels with their cursors, and the checkpoints that are stored of them.",
    ),
    "channel cursor remove": (
        "tidebook.cli.channel.cursor:remove",
        "Forget a consumer that is not open, with its cursor, the stored one too; or a state, with all its checkpoints.",
    ),
    "channel cursor reset": ("tidebook.cli.channel.cursor:reset", "Move the cursor of a consumer that is not open."),
    "channel doctor": (
        "tidebook.cli.channel.doctor:doctor",
        "Examine the machine and every channel; the exit code says whether something is wrong.",
    ),
    "channel dump": ("tidebook.cli.channel.dump:dump", "Write the messages of a channel into a file."),
    "channel ls": (
        "tidebook.cli.channel.ls:ls",
        "List every channel: size, rate, how full, producers, consumers, worst lag, trouble.",
    ),
    "channel rm": (
        "tidebook.cli.channel.rm:rm",
        "Remove channels that nobody has open, with what is in their rings; a journal stays.",
    ),
    "channel tail": ("tidebook.cli.channel.tail:tail", "Show the newest messages of a channel, decoded."),
    "channel top": (
        "tidebook.cli.channel.top:top",
        "Watch channels: rates, how full, lag and latency of each consumer, waits, gaps.",
    ),
    "channel verify": (
        "tidebook.cli.channel.verify:verify",
        "Check every line and committed message of channels; the exit code says whether all are whole.",
    ),
    "config keys": ("tidebook.cli.config:list_keys", "List every key with its default and what it does."),
    "config show": ("tidebook.cli.config:show", "Show every setting in force and what overrides its default."),
    "drill": (
        "tidebook.cli.drill:drill",
        "Rehearse the loss of a data directory: restore a backup elsewhere, recover it there, compare; the exit code says.",
    ),
    "export": ("tidebook.cli.export:export", "Write a raw journal as a capture file, the recorded bytes bit for bit."),
    "feeds add": (
        "tidebook.cli.feeds:add",
        "Subscribe to symbols of a venue, in the running node or for the next one.",
    ),
    "feeds ls": ("tidebook.cli.feeds:list_feeds", "List the feeds of a data directory with their symbols."),
    "feeds rm": ("tidebook.cli.feeds:remove", "Give symbols of a venue up, in the running node or for the next one."),
    "feeds top": ("tidebook.cli.feeds:top", "Watch the feeds of the running node: rates, delays, gaps, books."),
    "journal adopt": (
        "tidebook.cli.journal_adopt:adopt",
        "Say of a journal that was moved whole that it is no older copy, so that it keeps its epoch.",
    ),
    "journal compact": (
        "tidebook.cli.journal_compact:compact",
        "Remove the oldest segments of a channel's journal that its keep rule lets go, whatever its size.",
    ),
    "journal dump": ("tidebook.cli.journal:dump", "Print the messages of a journal, oldest first."),
    "journal export": (
        "tidebook.cli.journal_export:export",
        "Write the durable messages of a journal into a Parquet, CSV, JSON-lines or raw file.",
    ),
    "journal ls": ("tidebook.cli.journal:ls", "List the journals of a data directory and how far each is durable."),
    "journal repair": (
        "tidebook.cli.journal_repair:repair",
        "Say what is damaged in a journal and what can be done; with a choice, do it.",
    ),
    "journal stats": (
        "tidebook.cli.journal_stats:stats",
        "Count journals: messages, batches, sizes, syncs, rates, what their channels were run with.",
    ),
    "journal verify": (
        "tidebook.cli.journal:verify",
        "Check every batch of journals; the exit code says whether all are whole.",
    ),
    "record": (
        "tidebook.cli.record:record",
        "Take recordings into the raw journal of a data directory, each message once.",
    ),
    "replay": (
        "tidebook.cli.replay:replay",
        "Decode recordings, check them against their oracles and, with --data, store what they hold exactly once.",
    ),
    "restore": ("tidebook.cli.backup:restore", "Put a backup into an empty directory, verified."),
    "run": ("tidebook.cli.run:run", "Run a node: connectors, capture, engine, storage, API and the page."),
    "simulate": (
        "tidebook.cli.simulate:simulate",
        "Run a local venue, with seeded order flow or from a recording, that speaks a real venue's protocol.",
    ),
    "snapshot load": (
        "tidebook.cli.snapshot:load",
        "Recover a state from a journal and its snapshots, and print what was found; nothing is changed.",
    ),
    "snapshot ls": (
        "tidebook.cli.snapshot:ls",
        "List the snapshots of a data directory, oldest first; none is read for it.",
    ),
    "snapshot verify": (
        "tidebook.cli.snapshot:verify",
        "Read every byte of snapshots; the exit code says whether all are whole.",
    ),
    "status": (
        "tidebook.cli.status:status",
        "Say what is promised of each channel now, and never more; the exit code says whether something has failed.",
    ),
    "venue account": (
        "tidebook.cli.venue.lists:account",
        "Say what an account has: balances, positions, and of a margin account its equity and margin.",
    ),
    "venue accounts": (
        "tidebook.cli.venue.lists:accounts",
        "List the accounts of the running node's own venue, with what they have.",
    ),
    "venue cancel": (
        "tidebook.cli.venue.orders:cancel",
        "Cancel an order at the running node's own venue, or all of an account.",
    ),
    "venue fills": (
        "tidebook.cli.venue.lists:fills",
        "List the newest fills of an account; `tidebook audit fills` has older ones.",
    ),
    "venue init": (
        "tidebook.cli.venue.init:init",
        "List an instrument and open two accounts at the running node's own venue, to begin with; what is there stays.",
    ),
    "venue instruments": (
        "tidebook.cli.venue.lists:instruments",
        "List the instruments of the running node's own venue.",
    ),
    "venue kill": (
        "tidebook.cli.venue.orders:kill",
        "Switch trading of an account, or of all, off: no order any more, all open ones cancelled; --revive switches it on.",
    ),
    "venue limits": (
        "tidebook.cli.venue.lists:limits",
        "List limits in force at the running node's own venue, each the largest that is allowed.",
    ),
    "venue list-instrument": (
        "tidebook.cli.venue.operators:list_instrument",
        "List an instrument, or change one; a new one is closed until `tidebook venue session` opens it.",
    ),
    "venue open-account": (
        "tidebook.cli.venue.operators:open_account",
        "Open an account, or change one.",
    ),
    "venue orders": (
        "tidebook.cli.venue.lists:orders",
        "List the open orders of an account, or those that have ended.",
    ),
    "venue place": (
        "tidebook.cli.venue.orders:place",
        "Place an order at the running node's own venue, and say what became of it.",
    ),
    "venue place-pair": (
        "tidebook.cli.venue.orders:place_pair",
        "Place a limit order and a stop of which one cancels the other.",
    ),
    "venue positions": (
        "tidebook.cli.venue.lists:positions",
        "List what an account holds by trading, at which cost, and what that is worth at the last trade.",
    ),
    "venue replace": (
        "tidebook.cli.venue.orders:replace",
        "Change an open order; what is left out stays, and a smaller size at the same price keeps its priority.",
    ),
    "venue session": (
        "tidebook.cli.venue.operators:session",
        "Put an instrument into another session.",
    ),
    "venue status": (
        "tidebook.cli.venue.status:status",
        "Say how the running node's own venue does: commands, orders, accounts, what waits.",
    ),
    "venue transfer": (
        "tidebook.cli.venue.operators:transfer",
        "Put an asset into an account, or take it out. Sent again it is done again.",
    ),
    "version": ("tidebook.cli.version:version", "Show the versions of Tidebook, Python and every record layout."),
}

# What comes before the last word of a command -> its line in the help above it; a group before the groups in it.
GROUPS = {
    "audit": "The audit trail: the lives of orders, fills, and what compliance asks.",
    "channel": "Channels: what goes through them, who reads and who is in the way.",
    "channel cursor": "Cursors of consumers: where they stand, and to move them.",
    "config": "Settings: what is in force, and what can be set.",
    "feeds": "Feeds: what they are subscribed to, and how they are doing.",
    "journal": "Journals: what they hold, and whether they are whole.",
    "venue": "The node's own venue: instruments, accounts, orders.",
    "snapshot": "Snapshots: which there are, whether they are whole, and what recovery makes of them.",
}


def build_app() -> App:
    """The command line with every command registered and none imported."""
    from tidebook._core import version

    app = App(
        name="tidebook",
        help="A trading data plane: feeds, books, storage.",
        version=version(),
        suppress_keyboard_interrupt=False,  # ours to report: `boundary`
    )
    groups = {"": app}
    for name, help_line in GROUPS.items():
        above, _, word = name.rpartition(" ")
        groups[name] = App(name=word, help=help_line)
        groups[above].command(groups[name])
    for name, (target, help_line) in COMMANDS.items():
        above, _, word = name.rpartition(" ")
        groups[above].command(target, name=word, help=help_line)
    return app


def main() -> None:
    """Console entry: runs the command of `sys.argv` and exits with its code."""
    run(build_app())
