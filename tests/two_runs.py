"""Two processes of one run, started as torchrun would."""

import os
import socket
import subprocess
import sys
from pathlib import Path

WORKER = Path(__file__).parent / "training" / "two_processes.py"


def run_two(*command):
    """Start a command of Python twice, as torchrun would; return what each printed."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    shared |= {"PYTHONPATH": os.pathsep.join(sys.path), "CUDA_VISIBLE_DEVICES": ""}
    started = [
        subprocess.Popen(
            [sys.executable, *map(str, command)],
            env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    out = [process.communicate(timeout=600) for process in started]
    for process, (_, errors) in zip(started, out, strict=True):
        assert process.returncode == 0, errors[-3000:]
    return [text for text, _ in out]
