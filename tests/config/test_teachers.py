"""Teachers named in the configuration: a model that is trained first, a file that must be there, never a circle."""

import zipfile

import pytest

from stnuclei.config import check_teachers, local_teacher, missing_teachers
from stnuclei.errors import UserError


def config(**teachers):
    models = {name: {"training": {"teacher": teacher}} if teacher else {} for name, teacher in teachers.items()}
    return {"training": {"teacher": None}, "models": models}


def test_a_teacher_is_a_model_or_a_file(tmp_path):
    given = config(big=None, small="big", other=str(tmp_path / "b.pt"))
    check_teachers(given)
    assert local_teacher(given, "small", "results") == "results/models/big/checkpoint.pt"
    assert local_teacher(given, "big", "results") is None
    assert local_teacher(given, "other", "results") == str(tmp_path / "b.pt")
    (line,) = missing_teachers(given, {"big", "small", "other"})
    assert line == f"models.other.training.teacher: {tmp_path}/b.pt is not there; train it, or give null"
    (tmp_path / "b.pt").write_bytes(b"PK")
    (line,) = missing_teachers(given, {"big", "small", "other"})
    assert "b.pt is no whole file of weights (2 bytes); was its download or copy cut short?" in line
    with zipfile.ZipFile(tmp_path / "b.pt", "w") as archive:
        archive.writestr("b/data.pkl", b"")
    assert missing_teachers(given, {"big", "small", "other"}) == []


def test_one_setting_for_all_models_does_not_make_a_model_its_own_teacher():
    given = config(big=None, small=None)
    given["training"]["teacher"] = "big"
    check_teachers(given)
    assert local_teacher(given, "big", "r") is None and local_teacher(given, "small", "r").endswith("big/checkpoint.pt")


def test_circles_and_unknown_names_are_told():
    with pytest.raises(UserError, match="a -> b -> a is a circle; one of them must learn alone"):
        check_teachers(config(a="b", b="a"))
    with pytest.raises(UserError, match="models.a.training.teacher: 'bg' is neither a model nor a path; did you mean"):
        check_teachers(config(a="bg", big=None))
