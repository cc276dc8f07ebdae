"""How fast gatito is, against its peers and against what the machine can do: ``python -m tests.speed``."""
