from .examples import TokenSource as TokenSource
from .extract import extract_tokens as extract_tokens
from .table import classifier_table as classifier_table
from .token_store import TokenStore as TokenStore
from .train import train_classifier as train_classifier
