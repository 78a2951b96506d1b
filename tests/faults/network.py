"""The network away, and a server that breaks off."""

import contextlib
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from faults.attempts import SENTENCE, Row, attempt
from stnuclei import fetch

#: The stage that has faults of its own.
NETWORK = "download"
#: A server that announces 1 MB. Broken: it sends a third and closes, each time; whole: it sends all of it.
SERVER = """
import http.server, sys
CONTENT = bytes(range(250)) * 4000
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT if sys.argv[1] == "whole" else CONTENT[:300_000])
    def log_message(self, *words):
        pass
server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""


@contextlib.contextmanager
def _server(kind: str) -> Iterator[str]:
    """Address of a file on a server of this machine; of none where the kind is ``away``."""
    process = subprocess.Popen([sys.executable, "-c", SERVER, kind], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    address = f"http://127.0.0.1:{process.stdout.readline().strip()}/weights.pth"
    try:
        if kind == "away":
            process.kill()
            process.wait()
        yield address
    finally:
        process.kill()
        process.wait()


def network(folder: Path) -> Row:
    """A download while the network is away, and from a server that breaks off; then from one that does not."""
    outcomes: Counter[str] = Counter()
    folder.mkdir(parents=True)
    fetch.PAUSE = 0.05
    for kind in ("away", "broken"):
        with _server(kind) as address:
            status = attempt(lambda address=address: fetch.fetch(address, folder / "w"), folder / "log")
        refused = status == SENTENCE and not (folder / "w").exists()
        with _server("whole") as address:
            attempt(lambda address=address: fetch.fetch(address, folder / "w"), folder / "log")
        right = refused and (folder / "w").read_bytes() == bytes(range(250)) * 4000
        outcomes["a sentence, restart gives the same content" if right else "WRONG"] += 1
        (folder / "w").unlink(missing_ok=True)
    outcome = ", ".join(f"{number} x {words}" for words, number in outcomes.items())
    return Row(NETWORK, "network away, connection broken off", outcome, outcomes["WRONG"])
