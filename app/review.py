"""The keys that a reviewer presses."""

from collections.abc import Sequence

DIGITS = "0123456789"


def class_keys(classes: Sequence[str]) -> dict[str, str]:
    """Returns the keyboard's key of each class: key -> class.

    Where every class is named by a digit, that digit is its key; otherwise 1 to 9 are those of the first nine classes.
    """
    if all(len(name) == 1 and name in DIGITS for name in classes):
        return {name: name for name in classes}
    return dict(zip(DIGITS[1:], classes, strict=False))
