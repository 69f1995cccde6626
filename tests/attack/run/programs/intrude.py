"""Cases 19 and 20: every way to put something where the user, or a tool of theirs, will run it.

argv[1]: a project that may be written to.  Prints {what: outcome}.
"""

import errno
import json
import os
import sys

PROJECT = sys.argv[1]
NAMES = sys.argv[2:]


def outcome(act):
    try:
        act()
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error.errno))
    return "ok"


def write(path):
    with open(path, "w") as file:
        file.write("evil")


found = {}


def attempt(name, act):
    found[name] = outcome(act)


for name in NAMES:
    path = f"{PROJECT}/{name}"
    folder = os.path.dirname(path)
    attempt(f"{name}: folder", lambda: os.makedirs(folder, exist_ok=True))
    attempt(f"{name}: write", lambda: write(path))
    attempt(f"{name}: as another case", lambda: write(path.upper().replace(PROJECT.upper(), PROJECT)))
    attempt(f"{name}: dots", lambda: write(f"{PROJECT}/./sub/..//{name}"))
    write(f"{PROJECT}/evil")
    attempt(f"{name}: rename", lambda: os.rename(f"{PROJECT}/evil", path))
    attempt(f"{name}: link", lambda: os.link(f"{PROJECT}/evil", path))
    attempt(f"{name}: symlink", lambda: os.symlink(f"{PROJECT}/evil", path))
    attempt(f"{name}: below", lambda: write(f"{PROJECT}/sub/{name}"))
    attempt(f"{name}: mkdir", lambda: os.mkdir(path))

os.makedirs(f"{PROJECT}/prepared/hooks", exist_ok=True)
attempt("prepared: write", lambda: write(f"{PROJECT}/prepared/hooks/post-commit"))
attempt("prepared: rename to .git", lambda: os.rename(f"{PROJECT}/prepared", f"{PROJECT}/.git"))
attempt("prepared: link as .git", lambda: os.symlink("prepared", f"{PROJECT}/.git"))
attempt("prepared: a file .git", lambda: write(f"{PROJECT}/.git"))
attempt("prepared: swap with .vscode", lambda: os.rename(f"{PROJECT}/prepared", f"{PROJECT}/.vscode"))
attempt("harmless: write", lambda: write(f"{PROJECT}/harmless.txt"))
attempt("harmless: folder", lambda: os.mkdir(f"{PROJECT}/harmless"))
print(json.dumps(found))
