"""Frames of sequences: metrics, tables, figures."""
