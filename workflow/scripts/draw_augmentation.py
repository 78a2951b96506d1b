"""Draw every transform of the augmentation on one training patch."""

from typing import TYPE_CHECKING

import numpy as np

from stnuclei.augmentation.sheet import contact_sheet
from stnuclei.joblog import job
from stnuclei.patches import PatchStore

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0], "augmentation"):
    store = PatchStore(snakemake.input.patches[0])
    fullest = int(np.argmax(np.diff(store.offset)))
    contact_sheet(snakemake.output.figure, store.image[fullest], store.instances[fullest])
