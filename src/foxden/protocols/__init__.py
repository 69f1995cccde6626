"""Declarations of all protocols: the surface to audit.  Tables only; handlers live with the process that runs them."""
