"""Looking at processes: memory, logs, crashes."""
