"""What decodes a type with msgspec is made once, when its module is imported.

A struct's layout is worked out by msgspec when it is first decoded, without a lock: two threads that do it at once read what
the other has not written yet, and the process dies.
"""

import ast
import subprocess
import sys
from pathlib import Path

from tidebook.storage.disk import Disk
from tidebook.storage.manifest import Advance, Manifest

PYTHON = Path(__file__).parents[2] / "python" / "tidebook"

# Takes the module anew each time: its structs have then never been decoded. Eight threads begin together.
AT_ONCE = """
import importlib, sys, threading
from pathlib import Path

from tidebook.storage import manifest
from tidebook.storage.disk import Disk

root = Path(sys.argv[1])
sys.setswitchinterval(1e-6)
for _ in range(150):
    importlib.reload(manifest)
    together = threading.Barrier(8)
    heard = []

    def read():
        together.wait()
        heard.append(manifest.Manifest(root, Disk()).position("feed.binance"))

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert heard == [7] * 8, heard
"""


def test_a_manifest_is_read_by_many_threads_at_once_in_a_process_that_never_read_one(tmp_path: Path) -> None:
    """Method: in a process of its own, since what fails there is a segmentation fault."""
    writer = Manifest(tmp_path, Disk())
    writer.prepare()
    writer.commit(tmp_path, add=[], advance={"feed.binance": Advance(1, 7)}, writer="test", created=1)

    done = subprocess.run([sys.executable, "-c", AT_ONCE, str(tmp_path)], capture_output=True, text=True, check=False)

    assert done.returncode == 0, (done.returncode, done.stderr)


def test_every_decoder_of_a_type_is_made_at_import() -> None:
    """Method: no call of msgspec names a type inside a function, where threads may meet."""
    late = [
        f"{path.relative_to(PYTHON)}:{call.lineno}"
        for path in sorted(PYTHON.rglob("*.py"))
        for function in ast.walk(ast.parse(path.read_text()))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for call in ast.walk(function)
        if isinstance(call, ast.Call) and _works_out_a_type(call)
    ]
    assert late == []


def _works_out_a_type(call: ast.Call) -> bool:
    called = ast.unparse(call.func)
    return called.startswith("msgspec.") and (
        called.endswith((".Decoder", ".convert")) or any(keyword.arg == "type" for keyword in call.keywords)
    )
