#!/usr/bin/env bash
# Run the suite as the current user; as root, run it as an ordinary user too.  Arguments go to pytest.
# The sandbox is built differently with and without privileges, so both runs count; pytest's own line comes last.
set -uo pipefail
umask 022   # the second run must be able to read what the first one wrote
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [ "$(id -u)" -ne 0 ]; then
    exec .venv/bin/python -m pytest "$@"
fi

# 5 is pytest's "no test was selected": with -k or a path that is no failure of this run by itself.
echo "== as root =="
.venv/bin/python -m pytest "$@"
as_root=$?
echo "== as an ordinary user =="
.venv/bin/python tools/as_ordinary_user.py pytest "$@"
as_user=$?
[ "$as_root" -ne 0 ] && exit "$as_root"
exit "$as_user"
