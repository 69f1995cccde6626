"""pytest with foxden's plugin, as a program of its own.

Runs in: the test process.  Flow: plugin_options, words → a command line.
"""

from __future__ import annotations

import importlib.metadata
import sys


def plugin_options() -> tuple[str, ...]:
    """What loads the plugin where foxden was not installed with its entry point: a checkout on PYTHONPATH."""
    installed = any(entry.name == "foxden" for entry in importlib.metadata.entry_points(group="pytest11"))
    return () if installed else ("-p", "foxden.pytest_plugin")


def words() -> tuple[str, ...]:
    return (sys.executable, "-m", "pytest", *plugin_options())
