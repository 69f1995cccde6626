"""What is looked at is what is opened, however fast it changes."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.attack.run.ground import Ground

SECONDS = "2"
TRIES = 20_000  # of a loaded machine; 300,000 of an idle one


def counts(said: str) -> tuple[int, int]:
    """(tries, secrets)"""
    found = re.search(r"tries (\d+) secret (\d+)", said)
    assert found is not None, said
    return int(found[1]), int(found[2])


@pytest.fixture
def flipped(ground: Ground) -> Path:
    """rw/x is harmless, rw/y leads to the secret: they are flipped all the time."""
    (ground.rw / "x").write_text("harmless")
    (ground.rw / "y").symlink_to(ground.secret / "secret.txt")
    return ground.rw


@pytest.mark.parametrize("who", ["another program outside", "the program itself"])
def test_file_flipped_with_a_link_to_the_secret_never_gives_the_secret(
    ground: Ground, flipped: Path, compiled: Callable[[str], str], who: str
) -> None:
    """Case 7: opened for reading, which the kernel serves, and for writing, which the broker does."""
    race = compiled("race")
    options = ["--read", str(Path(race).parent)]
    if who == "the program itself":
        done = ground.run(race, "swap", str(flipped), SECONDS, "x", options=options)
    else:
        with subprocess.Popen([race, "flip", str(flipped), SECONDS], stdout=subprocess.DEVNULL) as outside:
            done = ground.run(race, "swap", str(flipped), SECONDS, options=options)
            outside.wait()
    tries, secrets = counts(done.stdout)
    assert secrets == 0
    assert tries > TRIES
    _, secrets = counts(ground.alone(race, "swap", str(flipped), "0.5", "x").stdout)
    assert secrets > 0, "without a sandbox the race is won"


def test_path_rewritten_after_the_broker_read_it_opens_what_was_judged(
    ground: Ground, compiled: Callable[[str], str]
) -> None:
    """Case 8."""
    race = compiled("race")
    good = ground.rw / "g"
    good.write_text("harmless")
    bad = ground.secret / "b"
    bad.write_text("CANARY")
    words = (f"{ground.base}/{'./' * 3}rw/g", f"{ground.base}/{'./' * 1}secret/b")
    assert len(words[0]) == len(words[1])
    total = 0
    for _ in range(6):  # one round is enough where nothing else runs
        done = ground.run(race, "buffer", *words, "1.5", options=["--read", str(Path(race).parent)])
        tries, secrets = counts(done.stdout)
        assert secrets == 0
        total += tries
        if total > 500:
            break
    assert total > 500
    _, secrets = counts(ground.alone(race, "buffer", *words, "0.5").stdout)
    assert secrets > 0, "without a sandbox the race is won"
