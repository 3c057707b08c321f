"""The scenarios, by what they are about."""

from . import browsers, doctor, feedback, layers, pages, processes, rooms, sessions  # noqa: F401
