"""Snakemake whose Slurm executor asks for finished jobs every two seconds.

The executor (2.8.0) waits 2, 12, 22, ... seconds where none has finished and has no setting for it: on a cluster of one
node the tests would mostly wait. Jobs run Snakemake as it is.
"""

import sys

from snakemake.cli import main
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

RemoteExecutor.next_seconds_between_status_checks = property(lambda self: 2.0, lambda self, seconds: None)

if __name__ == "__main__":
    sys.exit(main())
