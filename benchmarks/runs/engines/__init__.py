"""Engines: where jobs run. One machine, a Ray cluster, or a Slurm cluster."""
