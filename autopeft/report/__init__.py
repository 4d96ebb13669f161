"""The report of a study, one page of Markdown."""

from autopeft.report.asked import by_structure
from autopeft.report.page import report

__all__ = ["by_structure", "report"]
