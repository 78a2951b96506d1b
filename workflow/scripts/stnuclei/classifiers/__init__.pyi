from .examples import TokenSource as TokenSource
from .extract import extract_tokens as extract_tokens
from .table import classifier_table as classifier_table
from .table import cost_note as cost_note
from .token_store import TokenStore as TokenStore
from .train import train_classifier as train_classifier
