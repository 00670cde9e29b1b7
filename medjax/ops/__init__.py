"""Pure functions of one image or volume, `[*space, channel]`, 2-D and 3-D alike; `vmap` for more."""
