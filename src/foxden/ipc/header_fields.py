"""HTTP header fields in messages.  Apart from other fields: whoever loads these compiles their patterns.

Runs in: parent, socket process; pure.  Trusts: nothing; a value of these types has passed its bounds.
Source: RFC 9110 section 5.
"""

from typing import Annotated

from msgspec import Meta

# Patterns end in \Z: `$` would let one newline pass at the end.
HeaderName = Annotated[str, Meta(min_length=1, max_length=256, pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")]
HeaderValue = Annotated[str, Meta(max_length=32_768, pattern=r"^[^\r\n\x00]*\Z")]
Headers = Annotated[tuple[tuple[HeaderName, HeaderValue], ...], Meta(max_length=512)]
