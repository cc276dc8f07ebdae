"""Distillation: data, training, DAgger, several processes."""
