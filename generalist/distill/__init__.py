"""Distillation: data, training, DAgger, and data-parallel training."""
