"""Reports: score tables, plots and the page, generated from a results folder alone.

Run by ``gatito stages=[report]``, and for several runs by ``gatito stages=[compare]``.
"""

from benchmarks.report.report import write_report

__all__ = ["write_report"]
