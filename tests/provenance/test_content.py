"""Content hashes see values and nothing else."""

import json
import shutil

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import zarr

from stnuclei.errors import UserError
from stnuclei.provenance import content_hashes
from stnuclei.provenance.content import total

IMAGE = np.random.default_rng(0).integers(0, 255, (10, 8, 8, 3), np.uint8)
TABLE = pd.DataFrame({"cell_id": ["a", "ää", "c"], "label": ["x", None, "y"], "confidence": np.float32([0.5, 1, 0])})


def store(path, image=IMAGE, chunks=(1, 8, 8, 3), version=3, **options):
    group = zarr.create_group(path, zarr_format=version)
    group.create_array("image", data=image, chunks=chunks, **options)
    group.create_array("nuclei/centroid", data=np.arange(6, dtype=np.float32).reshape(3, 2))
    group.create_array("count", data=np.array(7))
    return path


def test_chunks_shards_compression_and_zarr_version_do_not_count(tmp_path):
    first = content_hashes(store(tmp_path / "a.zarr"))
    assert set(first) == {"image", "nuclei/centroid", "count"}
    assert content_hashes(store(tmp_path / "b.zarr", chunks=(3, 4, 8, 1), compressors=None)) == first
    assert content_hashes(store(tmp_path / "c.zarr", shards=(10, 8, 8, 3))) == first
    assert content_hashes(store(tmp_path / "d.zarr", version=2)) == first
    (tmp_path / "a.zarr" / ".snakemake_timestamp").touch()
    assert content_hashes(tmp_path / "a.zarr") == first


def test_one_value_shape_or_type_counts(tmp_path):
    first = content_hashes(store(tmp_path / "a.zarr"))
    other = IMAGE.copy()
    other[7, 3, 3, 1] += 1
    changed = content_hashes(store(tmp_path / "b.zarr", other))
    assert [name for name in first if first[name] != changed[name]] == ["image"]
    assert content_hashes(store(tmp_path / "c.zarr", IMAGE.reshape(10, 8, 24, 1)))["image"] != first["image"]
    assert content_hashes(store(tmp_path / "d.zarr", IMAGE.astype(np.int16)))["image"] != first["image"]
    assert total(first) != total(changed)


def test_big_arrays_are_hashed_in_blocks(tmp_path, monkeypatch):
    whole = content_hashes(store(tmp_path / "a.zarr", chunks=(3, 8, 8, 3)))
    monkeypatch.setattr("stnuclei.provenance.content.BLOCK", 200)
    assert content_hashes(tmp_path / "a.zarr") == whole


def test_texts_in_stores(tmp_path):
    for name, texts in (("a", ["ab", "c"]), ("b", ["a", "bc"])):
        zarr.create_array(tmp_path / f"{name}.zarr", data=np.array(texts, dtype=np.dtypes.StringDType()))
    assert content_hashes(tmp_path / "a.zarr") != content_hashes(tmp_path / "b.zarr")


def test_tables_by_value(tmp_path):
    first, other = tmp_path / "a.parquet", tmp_path / "b.parquet"
    TABLE.to_parquet(first)
    plain = pa.Table.from_pandas(TABLE, preserve_index=False)
    pq.write_table(plain, other, row_group_size=1, compression="zstd", use_dictionary=False)
    same = content_hashes(first)
    assert content_hashes(other) == same
    labels = pa.DictionaryArray.from_arrays(pa.array([1, None, 0], pa.int8()), ["y", "x"])
    pq.write_table(plain.set_column(1, "label", labels), other)
    assert content_hashes(other) == same
    for column, value in (("label", "z"), ("label", ""), ("confidence", 0.25), ("cell_id", "d")):
        changed = TABLE.copy()
        changed.loc[1, column] = value
        changed.to_parquet(other)
        assert content_hashes(other) != same, (column, value)
    TABLE.rename(columns={"label": "class"}).to_parquet(other)
    assert content_hashes(other) != same


def test_values_do_not_wander_between_rows(tmp_path):
    pd.DataFrame({"a": ["ab", "c"]}).to_parquet(tmp_path / "a.parquet")
    pd.DataFrame({"a": ["a", "bc"]}).to_parquet(tmp_path / "b.parquet")
    assert content_hashes(tmp_path / "a.parquet") != content_hashes(tmp_path / "b.parquet")


def test_checkpoints_by_their_tensors(tmp_path):
    state = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(3, dtype=torch.int64)}
    torch.save({"model_state_dict": state, "epoch": 1, "provenance": {"when": "now"}}, tmp_path / "a.pt")
    reordered = dict(reversed(state.items()))
    torch.save({"model_state_dict": reordered, "epoch": 2}, tmp_path / "b.pt", _use_new_zipfile_serialization=False)
    assert content_hashes(tmp_path / "a.pt") == content_hashes(tmp_path / "b.pt")
    state["a.weight"][0, 0] += 1e-6
    torch.save({"model_state_dict": state}, tmp_path / "b.pt")
    assert content_hashes(tmp_path / "a.pt") != content_hashes(tmp_path / "b.pt")


def test_folders_and_other_files(tmp_path):
    folder = tmp_path / "a"
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "x.json").write_text('{"b": 1, "a": [2]}')
    (folder / "y.tsv").write_text("a\tb\n")
    first = content_hashes(folder)
    assert set(first) == {"inner/x.json", "y.tsv"}
    shutil.copytree(folder, tmp_path / "b")
    (tmp_path / "b" / "inner" / "x.json").write_text(json.dumps({"a": [2], "b": 1}, indent=2))
    assert content_hashes(tmp_path / "b") == first


def test_mistakes_are_told(tmp_path):
    with pytest.raises(UserError, match="nothing to hash"):
        content_hashes(tmp_path / "none")
    (tmp_path / "a.parquet").write_text("no")
    with pytest.raises(UserError, match="not a readable parquet"):
        content_hashes(tmp_path / "a.parquet")
    (tmp_path / "a.pt").write_text("no")
    with pytest.raises(UserError, match="not a checkpoint"):
        content_hashes(tmp_path / "a.pt")
