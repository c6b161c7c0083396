"""Cells of CSV files that a spreadsheet would run as a formula, such as =1+2.

They get an apostrophe in front when they are written, and lose it when they are read:

    =1+2  <->  '=1+2      '=1+2  <->  ''=1+2      'tis  <->  'tis

The rule is reversible: what is written is read as it was. It follows OWASP's advice on CSV injection,
https://owasp.org/www-community/attacks/CSV_Injection.
"""

import re

# What spreadsheets take for the start of a formula, full-width forms included, after apostrophes of this rule.
FORMULA = re.compile("'*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")


def escape_cell(text: str) -> str:
    """Returns a cell as it is written."""
    return f"'{text}" if FORMULA.match(text) else text


def unescape_cell(text: str) -> str:
    """Returns what `escape_cell` was given."""
    return text[1:] if text.startswith("'") and FORMULA.match(text) else text
