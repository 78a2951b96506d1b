"""All stages of the workflow that the drill breaks."""

from faults.model_stages import MODEL_STAGES
from faults.slide_stages import SLIDE_STAGES

STAGES = SLIDE_STAGES | MODEL_STAGES
