"""One short file an experiment; run with `python -m experiments.NAME`."""
