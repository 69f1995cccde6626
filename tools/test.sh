#!/usr/bin/env bash
# Run the suite as the current user; as root, run it as an ordinary user too.  Arguments go to pytest.
# The sandbox is built differently with and without privileges, so both runs count; pytest's own line comes last.
set -uo pipefail
umask 022   # the second run must be able to read what the first one wrote
unset PYTHONDONTWRITEBYTECODE   # it may be written: each test worker would compile every test anew
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Files of tests run beside each other: most of them wait for processes most of the time.
beside=(-n "${FOXDEN_TEST_WORKERS:-$(($(nproc) + 1))}" --dist loadfile)

if [ "$(id -u)" -ne 0 ]; then
    exec .venv/bin/python -m pytest "${beside[@]}" "$@"
fi

# Of a whole run, each half leaves out what the other shows.  What only computes gives every user the same; what stands
# on foxden (adapters, guides) needs no privilege, and is tried as who it is for.
leave_out() {
    local place
    for place in "$@"; do [ -e "tests/$place" ] && echo "--ignore=tests/$place"; done
}
not_as_user=() not_as_root=()
if [ "$#" -eq 0 ]; then
    mapfile -t not_as_user < <(leave_out property platforms fuzz unit/front unit/ipc unit/model unit/protocols \
        unit/children unit/native/test_build.py e2e/test_build_settings.py)
    mapfile -t not_as_root < <(leave_out test_guides.py e2e/test_pytest_plugin.py e2e/test_boxed_warnings.py \
        e2e/test_dask.py e2e/test_web_service.py e2e/test_executor_guides.py interop/test_concurrent_futures_suite.py)
fi

# 5 is pytest's "no test was selected": with -k or a path that is no failure of this run by itself.
echo "== as root =="
.venv/bin/python -m pytest "${beside[@]}" "${not_as_root[@]}" "$@"
as_root=$?
echo "== as an ordinary user =="
.venv/bin/python tools/as_ordinary_user.py pytest "${beside[@]}" "${not_as_user[@]}" "$@"
as_user=$?
[ "$as_root" -ne 0 ] && exit "$as_root"
exit "$as_user"
