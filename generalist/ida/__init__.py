"""Iterated distillation and amplification."""
