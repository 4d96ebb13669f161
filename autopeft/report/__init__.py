"""The report of a study: what it says, and how that is written, as Markdown or as a page."""

from autopeft.report.asked import by_structure
from autopeft.report.page import content_of, report

__all__ = ["by_structure", "content_of", "report"]
