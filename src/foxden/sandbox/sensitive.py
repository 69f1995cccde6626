"""Files that hold secrets, by their names: never learnt, and granted only by someone who was warned.

Runs in: command, parent and tools; pure.  Trusts: nothing; a name is a guess, and errs on the side of warning.
Flow: path → secret_reason → hints, `learn`; name → is_kept_back → what workers may not read beside the caller's code.
Source: what credential stealers in package registries read (facts on supply chain attacks); gitleaks' and
detect-secrets' file lists.
"""

from __future__ import annotations

# A name, or a path of names that follow each other, anywhere in the path → what it holds.
_PARTS: dict[str, str] = {
    ".ssh": "SSH keys",
    ".gnupg": "GnuPG keys",
    ".aws": "AWS credentials",
    ".azure": "Azure credentials",
    ".kube": "Kubernetes credentials",
    ".docker/config.json": "registry credentials",
    ".config/gcloud": "Google Cloud credentials",
    ".config/gh": "GitHub's token",
    ".password-store": "passwords",
    ".local/share/keyrings": "passwords",
    ".mozilla": "a browser's passwords and cookies",
    ".config/google-chrome": "a browser's passwords and cookies",
    ".config/chromium": "a browser's passwords and cookies",
    ".thunderbird": "mail and its passwords",
    ".bitcoin": "a wallet",
    ".ethereum": "a wallet",
    "run/secrets": "mounted secrets",
    "etc/ssl/private": "private keys",
}
# Patterns of the last name.
_NAMES: dict[str, str] = {
    ".env": "secrets of a project",
    ".env.*": "secrets of a project",
    ".envrc": "secrets of a project",
    ".netrc": "passwords",
    "_netrc": "passwords",
    ".pgpass": "passwords",
    ".my.cnf": "passwords",
    ".pypirc": "a token to publish packages",
    ".npmrc": "a token to publish packages",
    ".git-credentials": "passwords",
    ".htpasswd": "password hashes",
    ".*_history": "what was typed, passwords among it",
    "*.pem": "keys or certificates",
    "*.key": "a key",
    "*.p12": "a key",
    "*.pfx": "a key",
    "*.jks": "a key",
    "*.kdbx": "passwords",
    "id_rsa*": "an SSH key",
    "id_ed25519*": "an SSH key",
    "id_ecdsa*": "an SSH key",
    "credentials*": "credentials",
    "secrets*": "secrets",
    "shadow": "password hashes",
    "gshadow": "password hashes",
    "cookies.sqlite": "a browser's cookies",
    "logins.json": "a browser's passwords",
    "key4.db": "the key of a browser's passwords",
    "wallet.dat": "a wallet",
}

# What lies beside code and is a secret whatever it is called for: no worker reads it because the code is readable.
# Fewer than above: Python modules are called secrets and credentials, and packages come with certificates.
ALWAYS_KEPT_BACK = (".env", ".git")  # whether they are there or not: they may come while workers run
_KEPT_BACK = frozenset({
    *ALWAYS_KEPT_BACK, ".aws", ".azure", ".docker", ".envrc", ".git-credentials", ".gnupg", ".hg", ".htpasswd", ".kube",
    ".my.cnf", ".netrc", ".npmrc", ".password-store", ".pgpass", ".pypirc", ".ssh", "_netrc",
})  # fmt: skip
_KEPT_BACK_FILES = (
    ".env.*", ".*_history", "*.key", "*.p12", "*.pfx", "*.jks", "*.kdbx", "id_rsa*", "id_dsa*", "id_ecdsa*",
    "id_ed25519*", "cookies.sqlite", "logins.json", "key4.db", "wallet.dat",
    *(f"{name}.{kind}" for name in ("credentials", "secrets") for kind in ("json", "toml", "yaml", "yml", "ini")),
)  # fmt: skip
_CODE = (".py", ".pyi", ".pyc", ".pyx", ".so", ".pub")  # and public keys


def is_kept_back(name: str, *, is_folder: bool) -> bool:
    """Is a file or folder of this name, beside code, a secret by its nature?"""
    name = name.lower()
    if name in _KEPT_BACK:
        return True
    return not is_folder and not name.endswith(_CODE) and any(_matches(name, each) for each in _KEPT_BACK_FILES)


def secret_reason(path: str) -> str:
    """What this path seems to hold; empty when it looks harmless."""
    whole = f"{path}/".lower()
    for part, holds in _PARTS.items():
        if f"/{part}/" in whole:
            return holds
    name = path.rstrip("/").rpartition("/")[2].lower()
    return next((holds for pattern, holds in _NAMES.items() if _matches(name, pattern)), "")


def _matches(name: str, pattern: str) -> bool:
    """Of a pattern with one star, or none.  fnmatch would compile forty of them before a den's first call."""
    head, star, tail = pattern.partition("*")
    if not star:
        return name == pattern
    return len(name) >= len(head) + len(tail) and name.startswith(head) and name.endswith(tail)
