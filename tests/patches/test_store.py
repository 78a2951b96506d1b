"""The store: what goes in comes out, in any reader; damage names itself."""

import json
import pickle
from dataclasses import fields, replace

import cv2
import numpy as np
import pytest
import zarr

from stnuclei.errors import UserError
from stnuclei.patches import PatchBlock, PatchStore, draw_contact_sheet, write_patches


def block(n, first=0, size=32, seed=0, k=3):
    random = np.random.default_rng([seed, first])
    return PatchBlock(
        image=random.integers(0, 256, (n, size, size, 3), dtype=np.uint8),
        instances=random.integers(0, k + 1, (n, size, size)).astype(np.uint16),
        origin=np.stack([np.arange(first, first + n), np.zeros(n)], 1).astype(np.int32),
        tissue=np.zeros(n, np.uint8),
        count=np.full(n, k, np.int64),
        cell_index=np.arange(first * k, (first + n) * k, dtype=np.int32),
        nucleus_index=np.arange(first * k, (first + n) * k, dtype=np.int32),
        centroid=random.uniform(0, size, (n * k, 2)).astype(np.float32),
    )


ATTRS = {"sample": "s", "tissues": ["Breast"], "um_per_px": 0.25}


@pytest.fixture
def store(tmp_path):
    blocks = [block(n, first) for n, first in ((100, 0), (300, 100), (130, 400))]
    write_patches(tmp_path / "p.zarr", blocks, ATTRS, size=32)
    return PatchStore(tmp_path / "p.zarr"), blocks


def test_what_goes_in_comes_out(store):
    store, blocks = store
    images, ids = (np.concatenate([getattr(b, name) for b in blocks]) for name in ("image", "instances"))
    assert len(store) == 530
    assert np.array_equal(store.image[:], images)
    assert np.array_equal(store.instances[[529, 0, 256, 255, 0]], ids[[529, 0, 256, 255, 0]])
    assert np.array_equal(store.image[-1], images[-1])
    assert np.array_equal(store.origin[:, 0], np.arange(530))
    own = store.nuclei(300)
    assert own["cell_index"].tolist() == [900, 901, 902]
    assert np.array_equal(own["centroid"], np.concatenate([b.centroid for b in blocks])[900:903])
    assert store.offset[-1] == 1590
    with pytest.raises(IndexError):
        store.image[530]


def test_the_content_hash_follows_every_pixel_and_no_cut(store, tmp_path):
    opened, blocks = store
    hashes = [opened.content_hash]
    whole = PatchBlock(*(np.concatenate([getattr(b, f.name) for b in blocks]) for f in fields(PatchBlock)))
    write_patches(tmp_path / "same.zarr", [whole], ATTRS, size=32, compress_image=True)
    assert PatchStore(tmp_path / "same.zarr").content_hash == hashes[0]
    for name in ("image", "instances", "cell_index", "centroid"):
        changed = getattr(whole, name).copy()
        changed.flat[-1] += 1
        write_patches(tmp_path / f"{name}.zarr", [replace(whole, **{name: changed})], ATTRS, size=32)
        hashes.append(PatchStore(tmp_path / f"{name}.zarr").content_hash)
    write_patches(tmp_path / "um.zarr", [whole], {**ATTRS, "um_per_px": 0.5}, size=32)
    hashes.append(PatchStore(tmp_path / "um.zarr").content_hash)
    assert len(set(hashes)) == len(hashes)
    described = tmp_path / "um.zarr" / "zarr.json"
    described.write_text(described.read_text().replace("content_sha256", "other"))
    with pytest.raises(UserError, match="says nothing of its content"):
        _ = PatchStore(tmp_path / "um.zarr").content_hash


def test_zarr_python_reads_the_same(store):
    store, _ = store
    group = zarr.open_group(store.path, mode="r")
    assert group["image"].shape == (530, 32, 32, 3)
    assert group["image"].chunks == (1, 32, 32, 3)
    assert group["image"].shards == (256, 32, 32, 3)
    assert np.array_equal(group["image"][255:258], store.image[255:258])
    assert np.array_equal(group["instances"][500], store.instances[500])
    assert np.array_equal(group["nuclei"]["cell_index"][:], store.cell_index)
    assert group.attrs["format"] == "stnuclei-patches"


def test_few_files_and_lossless(store):
    store, _ = store
    files = [f for f in store.path.rglob("*") if f.is_file() and f.name != "zarr.json"]
    assert len(files) == 3 + 3 + 3 + 3  # image, instances shards; offset, origin, tissue; cell, nucleus, centroid
    assert (
        store.attrs["counts"]["bytes"]
        == sum(f.stat().st_size for f in store.path.rglob("zarr.json"))
        + sum(f.stat().st_size for f in files)
        - (store.path / "zarr.json").stat().st_size
    )


def test_an_empty_store_can_be_read(tmp_path):
    write_patches(tmp_path / "p.zarr", [], ATTRS, size=32)
    store = PatchStore(tmp_path / "p.zarr")
    assert len(store) == 0
    assert len(store.cell_index) == 0
    assert store.image[:].shape == (0, 32, 32, 3)


def test_nothing_is_left_of_a_broken_write(tmp_path):
    def blocks():
        yield block(300)
        raise RuntimeError("reader failed")

    with pytest.raises(RuntimeError):
        write_patches(tmp_path / "p.zarr", blocks(), ATTRS, size=32)
    assert list(tmp_path.iterdir()) == []


def test_black_patches_are_patches_and_not_holes(tmp_path):
    dark = block(5)
    dark.image[:] = 0
    dark.instances[:] = 0
    write_patches(tmp_path / "p.zarr", [dark], ATTRS, size=32)
    assert not PatchStore(tmp_path / "p.zarr").image[:].any()


@pytest.mark.parametrize("name", ["image", "instances"])
def test_a_flipped_bit_names_store_and_patch(store, name):
    store, _ = store
    path = next((store.path / name / "c").rglob("1/*/*"))
    path = path if path.is_file() else next(p for p in path.rglob("*") if p.is_file())
    content = bytearray(path.read_bytes())
    content[40] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"p.zarr/{name}\[256\].*(checksum|damaged)"):
        getattr(PatchStore(store.path), name)[256]
    assert getattr(PatchStore(store.path), name)[257].any()


def test_a_cut_or_missing_shard_names_itself(store):
    store, _ = store
    path = store.path / "image" / "c" / "1" / "0" / "0" / "0"
    content = path.read_bytes()
    path.write_bytes(content[:1000])
    with pytest.raises(UserError, match=r"p.zarr/image\[300\]"):
        PatchStore(store.path).image[300]
    path.unlink()
    with pytest.raises(UserError, match=r"p.zarr/image\[300\].*not there"):
        PatchStore(store.path).image[300]


def test_what_is_no_patch_store_is_told(tmp_path):
    with pytest.raises(UserError, match="no store of patches"):
        PatchStore(tmp_path / "absent.zarr")
    other = tmp_path / "other.zarr"
    zarr.create_group(other)
    with pytest.raises(UserError, match="not one of patches"):
        PatchStore(other)
    content = {"attributes": {"format": "stnuclei-patches", "version": 99}}
    (other / "zarr.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="version 99"):
        PatchStore(other)


def test_a_store_can_be_sent_to_another_process(store):
    store, _ = store
    assert store.image[0].any()
    again = pickle.loads(pickle.dumps(store))
    assert np.array_equal(again.image[7], store.image[7])


def test_a_contact_sheet_has_the_colours_of_the_classes(tmp_path):
    instances = np.zeros((2, 64, 64), np.uint16)
    instances[:, 8:40, 8:40] = 1
    whole = replace(block(2, size=64, k=1), image=np.full((2, 64, 64, 3), 250, np.uint8), instances=instances)
    write_patches(tmp_path / "p.zarr", [whole], ATTRS, size=64)
    draw_contact_sheet(tmp_path / "p.zarr", tmp_path / "green.png")
    draw_contact_sheet(tmp_path / "p.zarr", tmp_path / "classes.png", classes=np.array([1, 3]))
    for name, colors in (("green", [(0, 240, 70)]), ("classes", [(213, 94, 0), (0, 114, 178)])):
        picture = cv2.imread(str(tmp_path / f"{name}.png"))[..., ::-1].astype(int)
        assert all((np.abs(picture - color).max(-1) < 12).sum() > 300 for color in colors), name
