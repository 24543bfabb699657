"""What came out, for people: a table, plain words, plots and one page that holds them all."""

from drkd.report.page import write_report
from drkd.report.table import print_results

__all__ = ["print_results", "write_report"]
