"""Results for people to read: a table, plain sentences, plots and one page with them all."""

from drkd.report.page import write_report
from drkd.report.run_page import write_run_report
from drkd.report.table import print_results

__all__ = ["print_results", "write_report", "write_run_report"]
