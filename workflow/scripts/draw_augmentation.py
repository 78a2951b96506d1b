"""Draw every transform of the augmentation on one training patch."""

import numpy as np

from stnuclei.augmentation.sheet import contact_sheet
from stnuclei.joblog import job
from stnuclei.patches import PatchStore

with job(snakemake.log[0], "augmentation"):
    store = PatchStore(snakemake.input.patches[0])
    fullest = int(np.argmax(np.diff(store.offset)))
    contact_sheet(snakemake.output.figure, store.image[fullest], store.instances[fullest])
