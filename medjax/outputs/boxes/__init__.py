"""Boxes about things in an image. So far their metrics."""
