"""The page about orders is true: its commands and its Python do what it says, in the order it says it."""

import os
import shlex
import subprocess
import sys
import urllib.request
from pathlib import Path

from tests.docs.test_examples import blocks
from tests.node.test_live import node


def test_what_the_page_about_orders_shows_works(root: Path, tmp_path: Path) -> None:
    page = root / "docs/orders-api.md"
    rings = tmp_path / "rings"
    rings.mkdir(mode=0o700)
    environment = os.environ | {"TIDEBOOK_RINGS": str(rings)}
    first, types, by_http = blocks(page, "sh")[:3]
    begun, *steps = [shlex.split(line, comments=True) for line in first.splitlines()]
    assert begun == ["tidebook", "run", "&"]
    more = [shlex.split(line, comments=True) for line in types.splitlines()]
    with node(tmp_path / "data", rings, "--venues", "kraken", "--rate", "1") as (_, address):

        def run(words: list[str]) -> str:
            command = [sys.executable, "-m", "tidebook", *words[1:]]
            done = subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True)
            return done.stdout

        assert "1000000 USD" not in [run(words) for words in steps][-1], "alice has paid"
        body = by_http.partition("-d '")[2].partition("'")[0]
        request = urllib.request.Request(
            f"{address}/api/v1/accounts/alice/orders", body.encode(), {"content-type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert b'"client_order_id":"first-1"' in answer.read()
        shown = {words[2]: run(words) for words in more}
        assert "2004.50" in shown["replace"]
        code = blocks(page, "python")[0]
        told = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True, capture_output=True, text=True
        ).stdout.splitlines()
        assert told[0].startswith("[ True  True] [")
        assert told[1].startswith("[1 5 4"), "accepted, replaced, cancelled, and what of the batch is there by then"
