"""What a run looks like, from its record alone: `write_report(run)`."""

from gdro.report.html import write_report
from gdro.report.read import Record, RecordError, read_record

__all__ = ["Record", "RecordError", "read_record", "write_report"]
