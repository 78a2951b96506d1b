from .compare import differences as differences
from .content import content_hashes as content_hashes
from .record import fingerprint as fingerprint
from .record import describe_run as describe_run, describe_set as describe_set
