"""Labels as text: names of classes, and several labels of one clip in one cell. Standard library only.

Several labels are names joined by ";", and "none" stands for a clip that is known to have none.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

TAG_SEPARATOR = ";"
NO_TAG = "none"


def class_name(value: Any) -> str:
    """Return a label as text: 3 and 3.0 are "3", True is "yes".

    >>> class_name(3.0), class_name("angry"), class_name(True)
    ('3', 'angry', 'yes')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def tags_of(value: Any) -> list[str]:
    """Return the names in a label of several, "dog;rain"; none for "none".

    >>> tags_of("dog; rain"), tags_of("none")
    (['dog', 'rain'], [])
    """
    names = [name.strip() for name in str(value).split(TAG_SEPARATOR)]
    return [name for name in names if name and name != NO_TAG]


def joined_tags(values: Iterable[Any]) -> str:
    """Return the labels of one clip as one cell, each once, blanks around them and empty ones left out.

    >>> joined_tags(["dog", " rain ", "dog"]), joined_tags([1, 2]), joined_tags([])
    ('dog;rain', '1;2', 'none')

    Raises:
        ValueError: a label that is no text or whole number, or that holds the separator.
    """
    names = []
    for value in values:
        if not isinstance(value, str | int) or isinstance(value, bool):
            raise ValueError(f"must be a list of text or whole numbers, but holds {value!r}")
        if TAG_SEPARATOR in str(value):
            raise ValueError(f"must be a list of labels without {TAG_SEPARATOR!r}, but holds {value!r}")
        names.append(str(value).strip())
    return TAG_SEPARATOR.join(dict.fromkeys(n for n in names if n)) or NO_TAG


def split_tags(cell: str, separator: str) -> str:
    """Return a cell of labels that the user separates in another way.

    >>> split_tags("dog | rain", "|"), split_tags("dog", "|")
    ('dog;rain', 'dog')

    Raises:
        ValueError: a label that holds `TAG_SEPARATOR`.
    """
    return joined_tags(cell.split(separator))
