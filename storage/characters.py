"""Characters that change how a text is shown: control characters, line breaks, and marks that reverse its direction."""

import re

CONTROL = re.compile(
    "["
    "\x00-\x1f\x7f-\x9f"  # control characters, line breaks among them
    "\u2028\u2029"  # line and paragraph separators
    "\u202a-\u202e\u2066-\u2069"  # the direction of writing: https://trojansource.codes
    "\ud800-\udfff"  # bytes of a file's name that are not UTF-8
    "]"
)


def has_control(text: str) -> bool:
    """Returns whether characters of a text change how it is shown, or cannot be printed."""
    return CONTROL.search(text) is not None


def escaped(text: str, keep: str = "") -> str:
    """Returns a text with its control characters as Python writes them: a line break as a backslash and an n.

    Args:
        text: what came from elsewhere, such as the name of a file.
        keep: control characters to leave as they are.
    """
    return CONTROL.sub(lambda match: match[0] if match[0] in keep else match[0].encode("unicode_escape").decode(), text)


def escaped_json(text: str) -> str:
    """Returns JSON without line breaks with its control characters as JSON's escapes."""
    return CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
