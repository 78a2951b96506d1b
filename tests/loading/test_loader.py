"""Any order from several stores; nothing left behind; what is damaged names itself."""

import gc
import os
import threading
import time
import tracemalloc

import numpy as np
import pytest
import torch

from stnuclei.errors import UserError
from stnuclei.loading.loader import PatchLoader, ReadSettings
from stnuclei.patches import PatchStore, patch_classes


@pytest.fixture
def sources(source_of):
    return [source_of("a", 300, tissue="Lung"), source_of("b", 40, tissue="Breast"), source_of("c", 10, labelled=False)]


def expected(sources, number):
    """Patch `number` of all sources read by itself."""
    for source in sources:
        store = PatchStore(source.patches)
        if number < len(store):
            rows = slice(store.offset[number], store.offset[number + 1])
            if source.labels is None:
                classes = np.full(rows.stop - rows.start, -1)
            else:
                classes = patch_classes(store, source.labels, "pannuke")[rows]
            return store.image[number], store.instances[number], classes, store.tissues[store.tissue[number]]
        number -= len(store)
    raise IndexError


def test_any_order_from_several_stores(sources):
    order = np.random.default_rng(0).integers(0, 350, 200)  # with repeats
    seen = []
    for batch in PatchLoader(sources, "pannuke", 32, order, reading=ReadSettings(threads=2)):
        n = len(batch["index"])
        assert batch["image"].shape == (n, 3, 32, 32)
        assert batch["image"].dtype == torch.uint8
        assert batch["image"].is_contiguous(memory_format=torch.channels_last)
        assert batch["instances"].dtype == torch.int32
        assert batch["classes"].dtype == torch.int8
        assert batch["tissue"].dtype == batch["index"].dtype == torch.int64
        for k, number in enumerate(batch["index"].tolist()):
            image, ids, classes, tissue = expected(sources, number)
            assert np.array_equal(batch["image"][k].permute(1, 2, 0), image)
            assert np.array_equal(batch["instances"][k], ids)
            assert np.array_equal(batch["classes"][k, : len(classes)], classes)
            assert (batch["classes"][k, len(classes) :] == -1).all()
            assert ["Breast", "Lung"][batch["tissue"][k]] == tissue
            seen.append(number)
    assert seen == order.tolist()


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("prefetch", [0, 3])
def test_threads_and_prefetch_change_nothing(sources, threads, prefetch):
    order = np.arange(350)[::-1]

    def run(**options):
        loader = PatchLoader(sources, "pannuke", 64, order, reading=ReadSettings(**options))
        return [{name: value.clone() for name, value in batch.items()} for batch in loader]

    first = run(threads=1, prefetch=1)
    again = run(threads=threads, prefetch=prefetch)
    for one, other in zip(first, again, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_orders_may_be_batches_numbers_or_generators(sources):
    def indices(sampler):
        return [batch["index"].tolist() for batch in PatchLoader(sources, "pannuke", 4, sampler)]

    assert indices(np.arange(10)) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert indices(iter(range(10))) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert indices(np.arange(12).reshape(2, 6)) == [list(range(6)), list(range(6, 12))]
    assert indices(np.array([i, i + 1]) for i in (5, 7)) == [[5, 6], [7, 8]]
    assert indices(np.zeros(0, int)) == []
    assert len(PatchLoader(sources, "pannuke", 4, np.arange(10))) == 3
    with pytest.raises(IndexError):
        indices([350])


def test_batches_that_are_kept_stay_as_they_are(sources):
    kept = list(PatchLoader(sources, "pannuke", 16, np.arange(350), reading=ReadSettings(prefetch=2)))
    for batch in kept:
        number = int(batch["index"][0])
        assert np.array_equal(batch["image"][0].permute(1, 2, 0), expected(sources, number)[0])


def test_memory_is_used_again_and_bounded(source_of):
    source = source_of("a", 256, size=64)
    loader = PatchLoader([source], "pannuke", 64, np.arange(256).repeat(8), reading=ReadSettings(prefetch=2))
    places = {batch["image"].data_ptr() for batch in loader}
    assert len(places) <= 5  # two ahead, one with the caller, one being asked
    tracemalloc.start()
    for _ in loader:
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    batch_bytes = 64 * 64 * 64 * 7
    assert peak < 4 * batch_bytes


def test_stopping_early_leaves_nothing(sources):
    threads, files = threading.active_count(), len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    for _ in range(20):
        for batch in PatchLoader(sources, "pannuke", 16, np.arange(350), reading=ReadSettings(prefetch=4, sweep=2)):
            assert len(batch["index"]) == 16
            break
        iterator = iter(PatchLoader(sources, "pannuke", 16, np.arange(350)))
        next(iterator)
        iterator.close()
    with pytest.raises(ZeroDivisionError):
        for _ in PatchLoader(sources, "pannuke", 16, np.arange(350), reading=ReadSettings(sweep=2)):
            1 / 0
    gc.collect()
    assert threading.active_count() == threads
    time.sleep(0.2)
    if files:
        assert len(os.listdir("/proc/self/fd")) <= files + 2


@pytest.mark.parametrize("name", ["image", "instances"])
def test_damage_names_store_patch_and_file(sources, name):
    path = next(p for p in (sources[0].patches / name / "c" / "1").rglob("*") if p.is_file())
    content = bytearray(path.read_bytes())
    content[10] ^= 255
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"a/patches.zarr/{name}\[256\].*damaged"):
        list(PatchLoader(sources, "pannuke", 32, np.arange(350)))
    assert len(list(PatchLoader(sources, "pannuke", 32, np.arange(256)))) == 8  # the rest can be read
    path.unlink()
    with pytest.raises(UserError, match=rf"a/patches.zarr/{name}\[2..\].*not there"):
        list(PatchLoader(sources, "pannuke", 32, np.arange(350), reading=ReadSettings(sweep=2)))


def test_stores_that_do_not_go_together(sources, source_of):
    with pytest.raises(UserError, match=r"\[32, 64\] px"):
        PatchLoader([*sources, source_of("d", 3, size=64)], "pannuke", 8, np.arange(3))
    with pytest.raises(UserError, match="no store of patches"):
        PatchLoader([type(sources[0])(sources[0].patches / "x", None)], "pannuke", 8, np.arange(3))


def test_a_disk_that_does_not_answer_is_given_up(sources, monkeypatch):
    loader = PatchLoader(sources, "pannuke", 8, np.arange(8), reading=ReadSettings(patience=0.2))

    class Never:
        def result(self, timeout=None):
            time.sleep(min(timeout, 1))
            raise TimeoutError

        def cancel(self):
            return True

    ask = loader._ask

    def asked(numbers):
        batch = ask(numbers)
        batch.reads[3] = (Never(), Never())
        return batch

    monkeypatch.setattr(loader, "_ask", asked)
    with pytest.raises(UserError, match=r"a/patches.zarr\[3\]: no answer"):
        list(loader)


def test_sweep_gives_the_same_batches(sources):
    order = np.random.default_rng(1).permutation(350)
    plain = [batch["image"].clone() for batch in PatchLoader(sources, "pannuke", 50, order)]
    swept = [
        batch["image"].clone() for batch in PatchLoader(sources, "pannuke", 50, order, reading=ReadSettings(sweep=1))
    ]
    assert all(torch.equal(a, b) for a, b in zip(plain, swept, strict=True))
