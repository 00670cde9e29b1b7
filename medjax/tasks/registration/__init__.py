"""Registration: where each voxel of one image is in another one."""
