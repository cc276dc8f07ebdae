"""Experts that are programs."""
