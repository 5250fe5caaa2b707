"""What a run looks like, from its record alone: `write_report(run)`; several of them on one page:
`write_side_by_side(runs)`."""

from gdro.report.html import write_report
from gdro.report.read import Record, RecordError, read_record
from gdro.report.side_by_side import write_side_by_side

__all__ = ["Record", "RecordError", "read_record", "write_report", "write_side_by_side"]
