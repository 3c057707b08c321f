"""The scenarios, by what they are about."""

from . import browsers, doctor, pages, processes, sessions  # noqa: F401
