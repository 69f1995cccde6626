"""A figure, the table of them, and the file they are written to.

Source: docs/design/figures.md: which figure has which bound, and why.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

RESULTS = Path(__file__).parent / "results.json"


@dataclass(frozen=True)
class Figure:
    """`holds` is None for a figure that is stated and has no bound."""

    name: str
    value: float
    unit: str
    bound: float | None = None
    at_least: bool = False
    against: str = ""

    @property
    def holds(self) -> bool | None:
        if self.bound is None:
            return None
        return self.value >= self.bound if self.at_least else self.value <= self.bound


def seconds(act: Callable[[], object]) -> float:
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


def interleaved(acts: dict[str, Callable[[], object]], rounds: int, warm: int = 3) -> dict[str, list[float]]:
    """Seconds of each act, taken in turns, so that a busy moment of the machine meets all alike."""
    taken: dict[str, list[float]] = {name: [] for name in acts}
    for round_number in range(rounds + warm):
        for name, act in acts.items():
            elapsed = seconds(act)
            if round_number >= warm:
                taken[name].append(elapsed)
    return taken


def median(values: list[float]) -> float:
    return statistics.median(values)


def write(figures: list[Figure]) -> None:
    rows = [{**{k: v for k, v in asdict(f).items() if k != "at_least"}, "holds": f.holds} for f in figures]
    RESULTS.write_text(json.dumps(rows, indent=2) + "\n")


def table(figures: list[Figure]) -> str:
    """Text with one line a figure."""
    width = max(len(figure.name) for figure in figures)
    lines = []
    for figure in figures:
        sign = "≥" if figure.at_least else "≤"
        bound = f"{sign} {figure.bound:g}" if figure.bound is not None else "stated"
        verdict = {True: "holds", False: "MISSED", None: ""}[figure.holds]
        measured = f"{figure.name:<{width}}  {figure.value:>10.3f} {figure.unit:<5}"
        lines.append(f"{measured} {bound:<9} {verdict:<7} {figure.against}".rstrip())
    return "\n".join(lines)
