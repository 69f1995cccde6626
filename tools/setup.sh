#!/usr/bin/env bash
# Make or refresh .venv, and install Debian's packages where that can be done.  Run by `make setup`.
#
# Trusts: requirements.lock.  Leaves: .venv/bin/foxden, and a stamp so that the next run has nothing to do;
# src/foxden/_native.abi3.so where there is a compiler.
# Without root, or without apt-get, it says what is missing and what for, and goes on.
set -euo pipefail
umask 022   # the suite also runs as another user, who must be able to read what is installed here
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PIP_NO_INPUT=1
unset PIP_REQUIRE_VIRTUALENV PIP_TARGET PIP_PREFIX PIP_USER PYTHONHOME PYTHONPATH

say() { printf 'setup: %s\n' "$*"; }

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

# The system's own Python first: one that a version manager put under a home directory can be out of
# reach for a process that gave up its user, and the sandboxed children start from this interpreter.
find_python() {
    local candidate
    for candidate in /usr/bin/python3 python3 python3.14 python3.13 python3.12 python3.11; do
        if candidate=$(command -v "$candidate") && new_enough "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    say "error: foxden needs Python 3.11 or newer, and there is none" >&2
    exit 1
}

# Ending a service that apt-get started is too late: it must not be started.  Debian asks policy-rc.d first.
POLICY=/usr/sbin/policy-rc.d
SAVED=$POLICY.before-foxden
forbid_services() {
    if [ -e "$POLICY" ] && [ ! -e "$SAVED" ]; then mv "$POLICY" "$SAVED"; fi
    printf '#!/bin/sh\n# put here by foxden'"'"'s tools/setup.sh while it installs packages\nexit 101\n' >"$POLICY"
    chmod 755 "$POLICY"
}
restore_services() {
    rm -f "$POLICY"
    if [ -e "$SAVED" ]; then mv "$SAVED" "$POLICY"; fi
}

apt_install() (
    exec 9<&-   # nothing that outlives this may hold the lock
    export DEBIAN_FRONTEND=noninteractive
    trap restore_services EXIT
    trap 'exit 1' INT TERM HUP
    forbid_services
    apt-get update -qq || true   # one stale source is no reason to give up
    apt-get install -y -qq --no-install-recommends -o Dpkg::Use-Pty=0 "$@"
) </dev/null

install_system_packages() {
    local missing
    missing=$("$1" tools/check_system.py --packages)
    [ -z "$missing" ] && return
    if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
        say "installing" $missing
        apt_install $missing >/dev/null || say "apt-get could not install all of:" $missing
    fi
    "$1" tools/check_system.py --missing
}

# One setup at a time: two that write the same .venv would leave neither.
exec 9<tools/setup.sh
flock 9

# Whether the extension can be built: when that changes, there is something to do.
has_headers() { "$python" -c 'import sysconfig, os, shutil
print(os.path.isfile(os.path.join(sysconfig.get_path("include"), "Python.h")), shutil.which("cc"))'; }

# `pip` says nothing of an extension that it left out; its log does.
install_foxden() {
    local log why
    rm -f src/foxden/_native.*.so
    log=$(mktemp)
    .venv/bin/python -m pip install --quiet --log "$log" --no-deps --no-build-isolation --editable .
    if ! compgen -G 'src/foxden/_native.*.so' >/dev/null; then
        why=$(grep -oE 'fatal error: .*|"foxden._native" failed: .{1,60}' "$log" | head -n 1) || true
        say "the extension in C was not built, foxden does without it: ${why:-this Python has no stable ABI}"
    fi
    rm -f "$log"
}

# Every process of a den starts an interpreter: none of them should compile what it imports, whoever's environment
# forbids to write that down (PYTHONDONTWRITEBYTECODE), or whoever may not write here.
compile_modules() { .venv/bin/python -m compileall -q src/foxden; }

python=$(find_python)
install_system_packages "$python"

# The stamp says what .venv was made from, and where: a moved checkout has wrong paths inside.
stamp=.venv/.foxden-setup
wanted=$({ pwd; "$python" -VV; cat requirements.lock pyproject.toml tools/setup.sh \
    setup.py build_backend/*.py src/native/*; has_headers; } | sha256sum)
if [ -x .venv/bin/foxden ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && new_enough .venv/bin/python; then
    compile_modules
    exit 0
fi

if ! new_enough .venv/bin/python || ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    say "making .venv with $python"
    rm -rf .venv
    if ! "$python" -m venv .venv; then
        rm -rf .venv
        say "error: $python cannot make a virtual environment (Debian: apt-get install python3-venv)" >&2
        exit 1
    fi
fi
rm -f "$stamp"
say "installing requirements.lock into .venv"
.venv/bin/python -m pip install --quiet --require-hashes --no-deps --requirement requirements.lock
install_foxden
compile_modules
echo "$wanted" >"$stamp"
say "ready: .venv/bin/foxden"
