#!/usr/bin/env bash
# Run the suite as the current user; as root, run it as an ordinary user too.  Arguments go to pytest.
# The sandbox is built differently with and without privileges, so both runs count; pytest's own line comes last.
set -uo pipefail
umask 022   # the second run must be able to read what the first one wrote
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Files of tests run beside each other: most of them wait for processes most of the time.
beside=(-n "${FOXDEN_TEST_WORKERS:-$(($(nproc) + 1))}" --dist loadfile)

if [ "$(id -u)" -ne 0 ]; then
    exec .venv/bin/python -m pytest "${beside[@]}" "$@"
fi

# What only computes gives every user the same: of a whole run it is left out the second time.
once=()
if [ "$#" -eq 0 ]; then
    for place in property platforms fuzz unit/front unit/ipc unit/model unit/protocols unit/children \
                 unit/native/test_build.py e2e/test_build_settings.py; do
        [ -e "tests/$place" ] && once+=(--ignore="tests/$place")
    done
fi

# 5 is pytest's "no test was selected": with -k or a path that is no failure of this run by itself.
echo "== as root =="
.venv/bin/python -m pytest "${beside[@]}" "$@"
as_root=$?
echo "== as an ordinary user =="
.venv/bin/python tools/as_ordinary_user.py pytest "${beside[@]}" "${once[@]}" "$@"
as_user=$?
[ "$as_root" -ne 0 ] && exit "$as_root"
exit "$as_user"
