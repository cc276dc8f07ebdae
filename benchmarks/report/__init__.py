"""What people read: the score table and plots, drawn from score rows alone.

Run by ``gatito stages=[report]``.
"""

from benchmarks.report.report import write_report

__all__ = ["write_report"]
