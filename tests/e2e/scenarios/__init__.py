"""The scenarios, by what they are about."""

from . import browsers, doctor, feedback, joins, layers, pages, processes, relay, rooms, sessions  # noqa: F401
