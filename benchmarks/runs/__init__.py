"""Execution of runs: stages, failures, parallel jobs, tracking."""
