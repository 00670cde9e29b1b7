"""What is installed: `experiments` and `launch` become parts of medjax, so that they take no name
that other packages may have. All else stands in pyproject.toml.
"""

from setuptools import find_packages, setup

INSIDE = {"medjax.experiments": "experiments", "medjax.launch": "launch"}

setup(packages=[*find_packages(include=["medjax*"]), *INSIDE], package_dir=INSIDE)
