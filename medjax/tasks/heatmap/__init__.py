"""Landmarks by heatmap regression."""
