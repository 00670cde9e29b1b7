"""A trained network as one folder or archive that is verified, and runs no code when it is read.

    import medjax
    model = medjax.load("my_bundle.zip")
    model.predict(image, spacing_mm=0.5)

It holds the weights and nothing that is executed: settings are plain data, read strictly, and
networks are known by the names that medjax has for them.
"""

from medjax.bundle.card import Notes
from medjax.bundle.making import make, of_run, sealed
from medjax.bundle.reading import ABOUT, REPORT, Bundle, check_origin, load, opened

__all__ = [
    "ABOUT",
    "REPORT",
    "Bundle",
    "Notes",
    "check_origin",
    "load",
    "make",
    "of_run",
    "opened",
    "sealed",
]
