"""The version of the package, which every other module may read."""

__version__ = "0.1.0"
