"""Every way a run ends early is told in a sentence that says what to do."""

import errno
import os
import resource
import signal
import subprocess
import sys

import pytest
import torch

from stnuclei.config.training import TrainSettings
from stnuclei.disk import disk_full_explained
from stnuclei.errors import UserError
from stnuclei.training import failures, resume
from stnuclei.training.resume import TrainingState

SAME = {"settings": {}, "data": "d", "classes": ["A"], "tissues": ["T"]}


def test_out_of_memory_says_which_accumulation_to_set():
    settings = TrainSettings(batch_size=256, accumulation=2)
    with pytest.raises(UserError, match=r"does not hold 32 patches.*accumulation to 4, which holds 16") as told:
        with failures.memory_explained(settings, processes=4):
            raise torch.OutOfMemoryError("CUDA out of memory")
    assert TrainSettings(batch_size=256, accumulation=4).micro_batch(4) == 16
    assert "keeps the batch" in str(told.value)


def test_out_of_memory_of_an_odd_or_single_batch():
    with pytest.raises(UserError, match="accumulation to 15, which holds 1"):
        with failures.memory_explained(TrainSettings(batch_size=15, accumulation=5), 1):
            raise torch.OutOfMemoryError
    with pytest.raises(UserError, match="smaller architecture"):
        with failures.memory_explained(TrainSettings(batch_size=4, accumulation=4), 1):
            raise torch.OutOfMemoryError


def test_disk_full_is_told_and_other_errors_pass(tmp_path):
    with pytest.raises(UserError, match=r"last.pt: cannot be written.*kept so.*Free space"):
        with disk_full_explained(tmp_path / "last.pt", "kept so"):
            raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(PermissionError), disk_full_explained(tmp_path, ""):
        raise PermissionError(errno.EACCES, "no")
    with pytest.raises(RuntimeError, match="shape"), disk_full_explained(tmp_path, ""):
        raise RuntimeError("shape mismatch")


def test_full_disk_leaves_the_last_good_state(tmp_path):
    """A real short write: the process may write 200 kB a file, its second state is larger."""
    script = """
import sys, torch
from pathlib import Path
from stnuclei.training import resume
from stnuclei.training.resume import TrainingState
same = {"settings": {}, "data": "d", "classes": [], "tissues": []}
for epoch, width in enumerate((10, 300)):
    resume.save(Path(sys.argv[1]), TrainingState(epoch=epoch), {"model": torch.nn.Linear(width, width)}, same)
"""

    def short_of_space():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))

    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        preexec_fn=short_of_space,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 1
    assert "the disk is full" in done.stderr and "the last.pt saved before is whole" in done.stderr, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]
    state, _ = resume.load(
        tmp_path, {"model": torch.nn.Linear(10, 10)}, {"settings": {}, "data": "d", "classes": [], "tissues": []}, "cpu"
    )
    assert state.epoch == 0


def test_state_of_other_settings_is_set_aside(tmp_path):
    model = {"model": torch.nn.Linear(2, 2)}
    resume.save(tmp_path, TrainingState(epoch=3), model, {**SAME, "settings": {"learning_rate": 1.0}})
    state, words = resume.load(tmp_path, model, {**SAME, "settings": {"learning_rate": 2.0}}, "cpu")
    assert state == TrainingState() and "learning_rate 1.0 -> 2.0" in words
    assert [path.name for path in tmp_path.iterdir()] == ["last.outdated.pt"]


def test_damaged_state_is_refused(tmp_path):
    (tmp_path / "last.pt").write_bytes(b"PK\x03\x04 torn")
    with pytest.raises(UserError, match="cannot be read.*remove it"):
        resume.load(tmp_path, {}, SAME, "cpu")


def test_speed_settings_may_change_the_recipe_may_not():
    def identity(**changed):
        return resume.identity(TrainSettings(**changed), "d", ("A",), ("T",))

    assert identity(epochs=7, workers=1, device="cpu", compile=True, accumulation=8) == identity()
    assert identity(learning_rate=1e-3) != identity() and identity(seed=1) != identity()
    assert identity(schedule="cosine", epochs=7) != identity(schedule="cosine", epochs=8)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_signals_become_requests_and_handlers_return(number):
    before = signal.getsignal(number)
    with failures.stop_requests() as stop:
        assert not stop
        os.kill(os.getpid(), number)
        assert stop and stop.signal == number.name
    assert signal.getsignal(number) is before


def test_stopped_means_try_again():
    with pytest.raises(SystemExit) as left:
        raise failures.TrainingStopped("saved")
    assert left.value.code == os.EX_TEMPFAIL and str(left.value) == "saved"


def test_not_finite_names_the_patches():
    error = failures.not_finite("loss (loss, hv_mse)", 3, 7, ["a/patches.zarr[4]", "b/patches.zarr[0]"], 3e-4)
    assert "epoch 3, step 7" in str(error) and "a/patches.zarr[4], b/patches.zarr[0]" in str(error)
