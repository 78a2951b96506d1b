"""Choice of device, precision and switches, on a mocked `torch.cuda`: no GPU is needed for what went wrong on one."""

import ctypes
import os
import subprocess
import sys

import pytest
import torch

from stnuclei.cellvit import device
from stnuclei.cellvit.device import choose_device, choose_precision, free_gpu, set_arithmetic
from stnuclei.errors import UserError


@pytest.fixture
def gpus(monkeypatch):
    """Let torch see some GPUs; gives the indices that `set_device` was called with."""
    chosen = []

    def see(count):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        # As torch does it, up to the driver: a device without an index raises.
        monkeypatch.setattr(
            torch.cuda, "set_device", lambda d: chosen.append(torch.cuda._utils._get_device_index(d, optional=False))
        )
        monkeypatch.setattr(device, "_uuid", lambda index: f"test-{os.getpid()}-{index}")
        return chosen

    monkeypatch.delenv("PYTORCH_CUDA_ALLOC_CONF", raising=False)
    device._own_gpu.cache_clear()
    yield see
    device._own_gpu.cache_clear()
    for lock in device._held:
        lock.close()
    device._held.clear()


@pytest.mark.parametrize("name", ["auto", "cuda", "cuda:0"])
def test_a_single_gpu_has_its_index(gpus, name):
    chosen = gpus(1)
    assert choose_device(name, "training.device") == torch.device("cuda:0")
    assert chosen == [0]


def test_cpu_is_the_cpu_beside_a_gpu(gpus):
    chosen = gpus(2)
    assert choose_device("cpu", "training.device").type == "cpu" and chosen == []


@pytest.mark.parametrize(("count", "name", "words"), [(0, "cuda", "sees no GPU"), (1, "cuda:1", "sees 1 GPU")])
def test_a_gpu_that_is_not_there_is_refused(gpus, count, name, words):
    gpus(count)
    with pytest.raises(UserError, match=rf"prediction.device: {name}.*{words}"):
        choose_device(name, "prediction.device")


def test_two_jobs_take_two_gpus_and_a_third_shares(gpus, tmp_path):
    gpus(2)
    assert [free_gpu(2, tmp_path) for _ in range(3)] == [0, 1, 0]
    device._held.pop(0).close()  # the first job ends
    assert free_gpu(2, tmp_path) == 0


def test_a_process_keeps_its_gpu(gpus):
    gpus(4)
    assert len({choose_device("auto", "prediction.device") for _ in range(3)}) == 1


def test_segments_grow_unless_the_user_says_otherwise(gpus, monkeypatch):
    gpus(1)
    choose_device("cuda", "training.device")
    assert os.environ["PYTORCH_CUDA_ALLOC_CONF"] == "expandable_segments:True"
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", "max_split_size_mb:64")
    choose_device("cuda", "training.device")
    assert os.environ["PYTORCH_CUDA_ALLOC_CONF"] == "max_split_size_mb:64"


def test_auto_precision_is_bf16_to_train_and_fp16_to_predict(monkeypatch):
    gpu = torch.device("cuda:0")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    assert choose_precision("auto", gpu) == torch.bfloat16
    assert choose_precision("auto", gpu, prefer="fp16") == torch.float16
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    assert choose_precision("auto", gpu) == torch.float16
    with pytest.raises(UserError, match="'fp8'"):
        choose_precision("fp8", gpu)


@pytest.mark.parametrize("has", [True, False])
def test_auto_precision_on_a_cpu_is_bf16_for_a_training_where_the_cpu_computes_in_it(monkeypatch, has):
    cpu = torch.device("cpu")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": has})
    assert choose_precision("auto", cpu, cpu_bf16=True) == (torch.bfloat16 if has else torch.float32)
    assert choose_precision("auto", cpu) == choose_precision("auto", cpu, prefer="fp16") == torch.float32
    assert choose_precision("fp32", cpu, cpu_bf16=True) == torch.float32


def test_fp32_is_fp32_and_deterministic_is_more_than_cudnn():
    try:
        set_arithmetic(deterministic=True)
        assert not torch.backends.cudnn.allow_tf32 and not torch.backends.cuda.matmul.allow_tf32
        assert torch.are_deterministic_algorithms_enabled() and torch.backends.cudnn.deterministic
        assert not torch.backends.cudnn.benchmark
    finally:
        set_arithmetic(deterministic=False)
    assert not torch.are_deterministic_algorithms_enabled() and torch.backends.cudnn.benchmark


FAULTS = """
import resource, torch
from stnuclei.cellvit.device import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.ones(20_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

apart = faults()
keep_freed_memory()
faults()  # the first time the memory is asked for
print(apart, faults())
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library is not glibc")
def test_freed_memory_is_used_again():
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True)
    apart, kept = map(int, done.stdout.split())
    assert kept < apart / 2, done.stdout
