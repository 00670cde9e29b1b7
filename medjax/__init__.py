"""medjax: a JAX research library for medical images."""

__version__ = "0.1.0"
