"""Answers of a shared network for one's own images; see `medjax.tools.predict`."""

from medjax import app
from medjax.tools.predict import Config, main

if __name__ == "__main__":
    app.run(main, Config)
