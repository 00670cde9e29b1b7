"""Pure functions of one image or volume, `[*space, channel]`, 2-D or 3-D; `vmap` for more."""
