"""Files of weights whose container can be seen to be broken before the first job."""

import json
import pickle
import zipfile

import pytest

from stnuclei.config.model_files import file_problem, missing_checkpoints


def archive(path):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a/data.pkl", b"x" * 1000)


def legacy(path):
    path.write_bytes(pickle.dumps({"weights": 1}))


def safetensors(path):
    header = json.dumps({"__metadata__": {}, "w": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(16))


@pytest.mark.parametrize(("name", "make"), [("a.pt", archive), ("b.safetensors", safetensors), ("c.pth", legacy)])
def test_a_whole_file_is_let_through_and_a_torso_is_not(tmp_path, name, make):
    path = tmp_path / name
    assert file_problem(path) == "is not there"
    make(path)
    assert file_problem(path) is None
    if name != "c.pth":  # the old form has no list of its members
        path.write_bytes(path.read_bytes()[:-5])
        assert "no whole file of weights" in file_problem(path)
    path.write_bytes(b"")
    assert "(0 bytes)" in file_problem(path)


def test_a_page_in_place_of_a_checkpoint_is_named(tmp_path):
    page = tmp_path / "official.pth"
    page.write_text("<html>Sign in</html>")
    (line,) = missing_checkpoints({"official": str(page)})
    assert line.startswith(f"segmentation.checkpoints.official: {page} is no whole file of weights (20 bytes)")
