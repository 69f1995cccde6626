"""setuptools, and foxden's two build settings: the counterpart of --disable-sandbox in Firefox's mozconfig.

    pip install --config-settings disable-sandbox=true .
    FOXDEN_BUILD_DISABLE_SANDBOX=1 pip install .

And foxden._native, the extension in C, where there is a compiler and Python.h: foxden works without it.

Runs in: builds of the package.  Trusts: who builds.
Flow: setting or environment name → build_py → foxden/build_settings.py of the wheel, written anew.
Source: PEP 517; MozillaWiki Security/Sandbox, "Local Build Options"; PEP 384.
"""

from __future__ import annotations

import os
import re
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from setuptools import Extension, build_meta
from setuptools.build_meta import *  # noqa: F403 - the hooks that are as setuptools has them
from setuptools.command.build_py import build_py

# Setting → its name in the environment, and in foxden/build_settings.py.
SETTINGS = {
    "disable-sandbox": ("FOXDEN_BUILD_DISABLE_SANDBOX", "DISABLE_SANDBOX"),
    "disable-content-sandbox": ("FOXDEN_BUILD_DISABLE_CONTENT_SANDBOX", "DISABLE_CONTENT_SANDBOX"),
}
_WORDS = {"": False, "0": False, "false": False, "1": True, "true": True}

COMPILE = (
    "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Wshadow", "-Wconversion", "-Wformat=2", "-Wstrict-prototypes",
    "-fvisibility=hidden", "-fstack-protector-strong", "-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=2",
)  # fmt: skip
_LINK = ("-Wl,-z,relro,-z,now",)
STABLE_ABI = "0x030b0000"  # that of Python 3.11, which every later one has


def extensions() -> list[Extension]:
    """None for a free-threaded Python, which has no stable ABI."""
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        return []
    sources = sorted(str(path) for path in Path("src", "native").glob("*.c"))
    return [
        Extension(
            "foxden._native", sources, depends=["src/native/native.h"], optional=True, py_limited_api=True,
            define_macros=[("Py_LIMITED_API", STABLE_ABI)], extra_compile_args=list(COMPILE),
            extra_link_args=list(_LINK),
        )
    ]  # fmt: skip


class BuildPy(build_py):
    """Copies the modules, then writes the settings into the copy, never into the source."""

    def run(self) -> None:
        path = Path(self.build_lib, "foxden", "build_settings.py")
        path.unlink(missing_ok=True)  # of an earlier build with other settings: only what is older is copied again
        super().run()
        chosen = [constant for setting, (_, constant) in SETTINGS.items() if is_on(setting)]
        if not chosen:
            return
        if self.editable_mode:
            raise SystemExit("error: expected a real install for build settings, got an editable one")
        text = path.read_text(encoding="utf-8")
        for constant in chosen:
            text, count = re.subn(rf"^{constant} = False", f"{constant} = True", text, flags=re.MULTILINE)
            if count != 1:
                raise SystemExit(f"error: expected one line {constant!r} in {path}, got {count}")
        path.unlink()  # a copy may be a hard link to the source
        path.write_text(text, encoding="utf-8")


def is_on(setting: str) -> bool:
    name = SETTINGS[setting][0]
    word = os.environ.get(name, "").lower()
    if word not in _WORDS:
        raise SystemExit(f"error: {name}: expected 1, true, 0 or false, got {word!r}")
    return _WORDS[word]


def build_wheel(
    wheel_directory: str, config_settings: Mapping[str, Any] | None = None, metadata_directory: str | None = None
) -> str:
    for setting, (name, _) in SETTINGS.items():
        if config_settings and setting in config_settings:
            os.environ[name] = str(config_settings[setting])
    return build_meta.build_wheel(wheel_directory, config_settings, metadata_directory)
