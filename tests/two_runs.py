"""Two processes of one run, as torchrun would start them, but forks of one that has imported torch and the package."""

import os
import runpy
import socket
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

WORKER = Path(__file__).parent / "training" / "two_processes.py"


def run_two(*command):
    """Run a script, or ``-m`` and a module, with its arguments twice; return what each printed."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    shared |= {"PYTHONPATH": os.pathsep.join(sys.path), "CUDA_VISIBLE_DEVICES": ""}
    with tempfile.TemporaryDirectory() as said:
        started = [sys.executable, __file__, said, *map(str, command)]
        done = subprocess.run(started, env={**os.environ, **shared}, capture_output=True, text=True, timeout=600)
        errors = [path.read_text()[-3000:] for path in sorted(Path(said).glob("*.err"))]
        assert done.returncode == 0, "\n".join([done.stderr[-3000:], *errors])
        return [Path(said, f"{rank}.out").read_text() for rank in range(2)]


def fork(rank: int, said: str, command: list[str]) -> int:
    """Process number of a fork that is one of the two."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            become(rank, said, command)
            status = 0
        except SystemExit as left:
            status = left.code if isinstance(left.code, int) else int(left.code is not None)
        except BaseException:  # noqa: BLE001 what an interpreter would do at its end
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    return child


def become(rank: int, said: str, command: list[str]) -> None:
    """Do in this process what ``python`` with the command does in a new one."""
    for stream, ending in ((1, "out"), (2, "err")):
        with open(f"{said}/{rank}.{ending}", "wb") as file:
            os.dup2(file.fileno(), stream)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    if command[0] == "-m":
        sys.argv = command[1:]
        runpy.run_module(command[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = command
        runpy.run_path(command[0], run_name="__main__")


if __name__ == "__main__":
    import torch._inductor  # noqa: F401 for the forks: an optimiser waits two seconds for it

    import stnuclei.cli
    import stnuclei.training.loop  # noqa: F401

    forks = [fork(rank, sys.argv[1], sys.argv[2:]) for rank in range(2)]
    sys.exit(max(abs(os.waitstatus_to_exitcode(os.waitpid(each, 0)[1])) for each in forks))
