"""Interim."""
def prewarm() -> None:
    pass
