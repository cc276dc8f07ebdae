"""Agents from outside the project: users' policies in the same tables, clips and pages, on the same episodes.

:mod:`.loading` finds an agent by its name on the command line, :mod:`.per_environment` wraps agents that act in one
environment at a time, :mod:`.checked` checks every action, and :mod:`.conformity` checks whether a policy follows the
protocol.
"""
