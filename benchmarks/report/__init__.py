"""Reports: score tables, plots and the page, generated from a results folder alone.

Run by ``gatito stages=[report]``, and for several runs by ``gatito stages=[compare]``.
"""
