from .loop import train as train
from .settings import TrainSettings as TrainSettings
