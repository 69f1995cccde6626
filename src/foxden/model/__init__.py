"""What exists: process types, origins, preferences, addresses.  Tables and pure functions, no I/O."""
