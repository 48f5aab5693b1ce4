"""What goes over the wire: records in, verdicts, rejects and counts out, and the packing in between."""

from pipeline.codec.audit import Audit, encode_audit, parse_audit
from pipeline.codec.decode import decode
from pipeline.codec.encode import Verdicts, encode_verdicts, finite, not_finite
from pipeline.codec.encode_arrow import VERDICT_SCHEMA
from pipeline.codec.headers import Format, format_of
from pipeline.codec.limits import VERDICT_BYTES, Limits
from pipeline.codec.payload import Work, pack_outputs, pack_work, unpack_outputs, unpack_work
from pipeline.codec.record_batch import BATCH_BYTES, encode_batches
from pipeline.codec.reject import REJECT_BYTES, encode_rejects
from pipeline.codec.verdict import Origins, VerdictContext

__all__ = [
    "Limits",
    "Format",
    "format_of",
    "decode",
    "Origins",
    "VerdictContext",
    "Verdicts",
    "VERDICT_SCHEMA",
    "VERDICT_BYTES",
    "encode_verdicts",
    "finite",
    "not_finite",
    "REJECT_BYTES",
    "encode_rejects",
    "Audit",
    "encode_audit",
    "parse_audit",
    "Work",
    "pack_work",
    "unpack_work",
    "BATCH_BYTES",
    "encode_batches",
    "pack_outputs",
    "unpack_outputs",
]
