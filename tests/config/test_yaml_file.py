"""Configuration files: read, or refused in a sentence with the line."""

import pytest

from stnuclei.config import read_yaml
from stnuclei.errors import UserError


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"training:\n\tepochs: 3\n", "line 2 is indented with a tab; use blanks"),
        (b"labels:\n  methods: [paper\nseed: 1\n", "line 3: expected ',' or ']'"),
        (b"- 1\n- 2\n", "holds a list, not keys with their values"),
        (b"training\n", "holds a str"),
        (b"seed: \xff\n", "is no UTF-8 text"),
        (b"training: {epochs: 3}\nseed: 1\ntraining: {seed: 2}\n", "line 3: the key 'training' is there twice"),
        (b"training:\n  epochs: 3\n  epochs: 4\n", "line 3: the key 'epochs' is there twice in one block"),
        (b'{"seed": 1, "seed": 2}', "line 1: the key 'seed' is there twice"),
        (b"seed: *other\n", "line 1: found undefined alias"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path, content, message):
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError, match="configuration .*mine.yaml: ") as caught:
        read_yaml(path)
    assert message in str(caught.value)


def test_what_is_right_is_read(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"\xef\xbb\xbfcommon: &common {epochs: 3}\ntraining: {<<: *common, batch_size: 2}\n")
    assert read_yaml(path)["training"] == {"epochs": 3, "batch_size": 2}
    path.write_text("# nothing but a comment\n")
    assert read_yaml(path) == {}
