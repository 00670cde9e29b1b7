"""Segmentation: a class for each voxel."""
