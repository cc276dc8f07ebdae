"""Agents from outside the project: anybody's policy in the same tables, clips and pages, on the same episodes.

:mod:`.loading` finds an agent by its name on the command line, :mod:`.per_environment` wraps what acts in one
environment at a time, :mod:`.checked` checks every action, and :mod:`.conformity` tells the author of a policy what is
wrong with it.
"""
