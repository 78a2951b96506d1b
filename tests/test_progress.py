"""Progress lines in a log file."""

import io
import re

from stnuclei.progress import Progress, clock, progress


def test_items_pass_and_the_last_line_counts_them():
    stream = io.StringIO()
    assert list(progress(range(1234), label="patches", unit="patches", stream=stream)) == list(range(1234))
    assert re.search(r"^patches: 1,234/1,234 patches \(100 %\), [\d,.]+ patches/s, 0:00 taken\n$", stream.getvalue())


def test_time_left_and_note():
    stream = io.StringIO()
    bar = Progress(total=10, label="epoch", unit="steps", stream=stream, interval=0.0)
    bar.start -= 4.0
    bar.update(4, note="loss 1.5")
    assert re.match(r"epoch: 4/10 steps \(40 %\), 1\.0 steps/s, 0:06 left, loss 1\.5\n", stream.getvalue())


def test_clock():
    assert [clock(s) for s in (0, 59.6, 3600, 90061)] == ["0:00", "1:00", "1:00:00", "25:01:01"]
