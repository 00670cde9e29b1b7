"""Models as bundles that are verified; see `medjax.tools.share`."""

from medjax import app
from medjax.tools.share import Config, main

if __name__ == "__main__":
    app.run(main, Config)
