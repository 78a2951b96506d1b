"""Tables of ours: a changed byte is an error or changes nothing."""

import numpy as np
import pandas as pd
import pytest

from stnuclei.errors import UserError
from stnuclei.tables import read_table, write_table


def test_a_changed_byte_is_never_another_number(tmp_path):
    random, path = np.random.default_rng(0), tmp_path / "t.parquet"
    table = pd.DataFrame({"cell_id": [f"c{k}" for k in range(500)], "value": random.random(500)})
    write_table(table, path)
    content, refused = path.read_bytes(), 0
    for _ in range(60):
        changed = bytearray(content)
        changed[random.integers(len(content))] ^= 1 << int(random.integers(8))
        path.write_bytes(changed)
        try:
            read = read_table(path)
        except UserError as error:
            assert str(path) in str(error) and "delete it and run again" in str(error)
            refused += 1
        else:
            pd.testing.assert_frame_equal(read, table)
    assert refused > 30


def test_what_is_not_there_is_a_sentence(tmp_path):
    with pytest.raises(UserError, match="is no readable table"):
        read_table(tmp_path / "none.parquet")
