"""How this package was built: the counterpart of Firefox's `ac_add_options --disable-sandbox` in a mozconfig.

Runs in: the parent and the command read it; it is data.  Trusts: who built the package.
Flow: `pip install --config-settings disable-sandbox=true …` → build_backend/foxden_build.py writes this file anew.
Source: MozillaWiki Security/Sandbox, "Local Build Options".
"""

DISABLE_SANDBOX = False  # no process has a sandbox
DISABLE_CONTENT_SANDBOX = False  # content processes have none
