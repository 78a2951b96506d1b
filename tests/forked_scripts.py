"""Scripts of jobs in forks of the process that runs Snakemake, which has imported their libraries already.

A job of the tests' small runs computes for a tenth of a second and imports for three. Rules, inputs, parameters and
scripts are those of every run; what is left out is a fresh interpreter for each job, which other tests of the workflow
have.
"""

import ast
import gc
import importlib
import os
import runpy
import subprocess
import sys
import traceback
from contextlib import nullcontext, suppress
from pathlib import Path

import numpy as np
import torch
from snakemake.benchmark import benchmarked
from snakemake.script import PythonScript

from paths import SCRIPTS

sys.path.insert(0, str(SCRIPTS))
from stnuclei.cellvit.targets import make_targets
from stnuclei.evaluation.segmentation import panoptic_quality
from stnuclei.prediction.patches import separate
from stnuclei.prediction.predictor import PredictedMaps

#: Imported by the jobs on first use: an optimiser alone waits two seconds for torch._dynamo.
_LATE = """
PIL.JpegImagePlugin dask.dataframe igraph.drawing illico matplotlib.backends.backend_agg pandas.io.formats.style
pyarrow.dataset pyarrow.pandas_compat scipy.ndimage skimage.filters sklearn.decomposition sklearn.linear_model
sklearn.metrics sparse.numba_backend spatialdata tifffile.zarr torch._inductor torch.onnx torch.utils.tensorboard
""".split()


def preload():
    """Import what the scripts import, by the name they use, so that lazy packages load what is behind it.

    Forks share it. No thread is started, and nothing is computed that a job uses.
    """
    for script in filter(is_script_of_a_job, map(Path.read_text, sorted(SCRIPTS.glob("*.py")))):
        for node in ast.parse(script).body:
            if isinstance(node, ast.ImportFrom) and node.module:
                module = importlib.import_module(node.module)
                for name in node.names:
                    getattr(module, name.name)
            elif isinstance(node, ast.Import):
                for name in node.names:
                    importlib.import_module(name.name)
    for late in _LATE:
        with suppress(ImportError):
            importlib.import_module(late)
    compile_loops()


def compile_loops():
    """Compile here what most jobs would compile in a fresh clone, each for itself and at the same time as others.

    One nucleus in a patch, in the types of the jobs.
    """
    instances = np.zeros((1, 32, 32), np.int32)
    instances[:, 8:24, 8:24] = 1
    make_targets(torch.from_numpy(instances), torch.ones(1, 1, dtype=torch.int8))
    steps = np.linspace(-1, 1, 32, dtype=np.float32)
    hv = np.stack(np.meshgrid(steps, steps))[None]
    types = np.full((1, 6, 32, 32), 1 / 6, np.float32)
    found, _ = separate(PredictedMaps(instances > 0, hv, types), 0, 0.25)
    panoptic_quality(instances[0], found)


def fork_scripts():
    """Run the scripts of jobs in forks of this process from now on."""
    preload()
    gc.freeze()  # forks share these pages
    PythonScript.execute_script = execute_script


def is_script_of_a_job(text):
    return "with job(snakemake.log[0]" in text


def execute_script(self, fname, edit=False):
    """In place of Snakemake's method, which starts an interpreter."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            sys.argv = [fname]
            runpy.run_path(fname, run_name="__main__")
            status = 0
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException:  # noqa: BLE001 a script may end in any way, its process ends here
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    with benchmarked(child, self.bench_record) if self.bench_record else nullcontext():
        _, status = os.waitpid(child, 0)
    if status:
        raise subprocess.CalledProcessError(os.waitstatus_to_exitcode(status), fname)
