"""A report as one HTML file: no network, no script, light and dark."""

from autopeft.report.html.page import html_page
from autopeft.report.html.picture import svg_file

__all__ = ["html_page", "svg_file"]
