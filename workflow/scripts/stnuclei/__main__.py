"""``python -m stnuclei``: the command `stnuclei`, for programs that start modules (torchrun)."""

import sys

from stnuclei.cli import main

sys.exit(main())
