"""Environments: pure functions of one agent, compiled and `vmap`-ed by those who call them."""
