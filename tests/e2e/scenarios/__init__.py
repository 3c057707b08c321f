"""The scenarios, by what they are about."""

from . import browsers, pages, processes, sessions  # noqa: F401
