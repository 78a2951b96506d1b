"""What a result was made from, and whether two results hold the same."""

from stnuclei.provenance.compare import differences
from stnuclei.provenance.content import content_hashes
from stnuclei.provenance.inputs import fingerprint
from stnuclei.provenance.record import describe_run, describe_set

__all__ = ["content_hashes", "describe_run", "describe_set", "differences", "fingerprint"]
