"""Faults of the workflow as a whole: the network taken away, two runs on one results folder."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import yaml

from faults.attempts import SENTENCE, attempt
from faults.jobs import run_job
from faults.rows import Row
from paths import ROOT
from stnuclei import fetch

CONTENT = bytes(range(256)) * 4000


@dataclass(frozen=True)
class Server:
    """What a stand-in for the network does: break off for good after `most` bytes, or wait until a file is there."""

    most: int = len(CONTENT)
    gate: Path | None = None

    def serve(self, port: int, told: int) -> None:
        """Answer requests for ever; the port is written to the pipe `told`."""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                while outer.gate is not None and not outer.gate.exists():
                    time.sleep(0.1)
                self.send_response(200)
                self.send_header("Content-Length", str(len(CONTENT)))
                self.send_header("ETag", '"one"')
                self.end_headers()
                self.wfile.write(CONTENT[: outer.most])
                if outer.most < len(CONTENT):
                    self.wfile.flush()
                    os._exit(0)

            def log_message(self, *words: object) -> None:
                pass

        server = HTTPServer(("127.0.0.1", port), Handler)
        os.write(told, f"{server.server_port}\n".encode())
        server.serve_forever()

    @contextmanager
    def running(self, port: int = 0) -> Iterator[int]:
        """Serve in a process of its own; gives the port."""
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                self.serve(port, write)
            finally:
                os._exit(1)
        os.close(write)
        with os.fdopen(read) as pipe:
            port = int(pipe.readline())
        try:
            yield port
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def _fetch(port: int, out: Path) -> Callable[[], object]:
    def call() -> None:
        fetch.PAUSE = 0.1
        params = {"url": f"http://127.0.0.1:{port}/vit.pth"}
        run_job("fetch_weights", out, {}, {"weights": "vit.pth"}, params, weights="vit.pth")

    return call


def network_taken_away(folder: Path) -> Iterator[Row]:
    """A server that is gone after some bytes of a download; then the same call with the network back."""
    outcomes: Counter[str] = Counter()
    for most in (0, 1, 300_000, len(CONTENT) - 1):
        out = folder / str(most)
        with Server(most).running() as port:
            status = attempt(_fetch(port, out), folder / "log")
        left = sorted(path.name for path in out.iterdir() if not path.name.endswith(".log"))
        with Server().running(port):
            again = attempt(_fetch(port, out), folder / "log")
        whole = again == 0 and (out / "vit.pth").read_bytes() == CONTENT
        right = status == SENTENCE and not left and whole
        outcome = "a sentence, nothing left, the restart fetches the file whole"
        outcomes[outcome if right else f"status {status}, left {left}, then {again}: {whole}"] += 1
    wrong = sum(number for said, number in outcomes.items() if not said.startswith("a sentence"))
    text = ", ".join(f"{number} x {said}" for said, number in outcomes.items())
    yield Row("downloads", "the network goes during a download", text, wrong)


def _snakemake(folder: Path, results: Path, port: int) -> subprocess.Popen[str]:
    """A run that fetches one file of weights, begun in its own working folder."""
    if not folder.exists():
        shutil.copytree(ROOT / "config", folder / "config")
    settings = {"results": str(results), "training": {"encoder_weights": f"http://127.0.0.1:{port}/vit.pth"}}
    (folder / "c.yaml").write_text(yaml.safe_dump(settings))
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--configfile", "c.yaml"]
    command += ["--cores", "1", f"{results}/weights/vit.pth"]
    environment = {**os.environ, "PYTHONPATH": ""}
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def _two_runs(folder: Path, others: str, sentence: str, fault: str) -> Row:
    results, gate = folder / "results", folder / "gate"
    log = results / "logs" / "fetch_weights" / "vit.pth.log"
    with Server(gate=gate).running() as port:
        first = _snakemake(folder / "one", results, port)
        while first.poll() is None and not log.exists():
            time.sleep(0.2)  # its job waits for the server
        said, _ = (second := _snakemake(folder / others, results, port)).communicate()
        gate.touch()
        first.communicate()
        _snakemake(folder / others, results, port).communicate()
    whole = (results / "weights" / "vit.pth").read_bytes() == CONTENT
    right = first.returncode == 0 and second.returncode != 0 and sentence in said and "Traceback" not in said and whole
    outcome = "the second ends with a sentence, the first finishes, the second's restart finds the same content"
    return Row(
        "two runs", fault, outcome if right else f"{first.returncode}, {second.returncode}: {said[-200:]}", not right
    )


def two_runs(folder: Path) -> Iterator[Row]:
    """Two snakemake commands on one results folder, from two working folders and from one."""
    for others, sentence, fault in (
        ("two", "another process (", "two working folders, one results folder"),
        ("one", "Directory cannot be locked", "two in one working folder"),
    ):
        (folder / others).mkdir()
        yield _two_runs(folder / others, others, sentence, fault)


OTHERS: dict[str, Callable[[Path], Iterator[Row]]] = {"downloads": network_taken_away, "two runs": two_runs}
