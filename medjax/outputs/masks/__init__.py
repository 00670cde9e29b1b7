"""Masks: the class of each pixel or voxel. So far their metrics."""
