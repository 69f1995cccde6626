"""Files that hold secrets, by their names: never learnt, and granted only by someone who was warned.

Runs in: command, parent and tools; pure.  Trusts: nothing; a name is a guess, and errs on the side of warning.
Flow: path → secret_reason → hints, `learn`.
Source: what credential stealers in package registries read (facts on supply chain attacks); gitleaks' and
detect-secrets' file lists.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

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


def secret_reason(path: str) -> str:
    """What this path seems to hold; empty when it looks harmless."""
    whole = f"{path}/".lower()
    for part, holds in _PARTS.items():
        if f"/{part}/" in whole:
            return holds
    name = path.rstrip("/").rpartition("/")[2].lower()
    return next((holds for pattern, holds in _NAMES.items() if fnmatchcase(name, pattern)), "")
