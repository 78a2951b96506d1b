from .model_card import write_card as write_card
from .run import Run as Run
from .write import write_report as write_report
