"""The scenarios, by what they are about."""

from . import browsers, doctor, layers, pages, processes, sessions  # noqa: F401
