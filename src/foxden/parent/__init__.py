"""The trusted process: it decides everything, opens no network socket, runs no untrusted input."""
