"""Two or more runs on the same cases; see `medjax.tools.compare`."""

from medjax import app
from medjax.tools.compare import Config, main

if __name__ == "__main__":
    app.run(main, Config)
