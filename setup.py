"""The one part of the build that pyproject.toml cannot say for every setuptools: an extension that may be left out."""

from foxden_build import extensions
from setuptools import setup

setup(
    ext_modules=extensions(),
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if extensions() else {},
)
