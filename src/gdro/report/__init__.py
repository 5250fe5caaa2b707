"""What a run looks like, from its record alone: `write_report(run)` and `picture(run, path)`."""

from gdro.report.html import write_report
from gdro.report.read import Record, RecordError, read_record
from gdro.report.readme_picture import picture

__all__ = ["Record", "RecordError", "picture", "read_record", "write_report"]
