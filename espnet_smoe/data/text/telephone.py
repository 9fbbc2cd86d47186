"""Telephone numbers as they are written: country, area, number; read digit by digit.

=========================  ================================================
written                    what tells it apart
=========================  ================================================
``+82 10-1234-5678``       the sign and code of a country
``(02)123-4567``           an area in brackets, or closed by one: ``02)``
``010 1234 5678``          an area that begins with 0, or a mobile's 13x-19x
=========================  ================================================

Groups that hyphens alone join may be dates, scores and accounts as well:
`espnet_smoe.data.text.number_forms` decides.
"""

import re
from collections.abc import Callable

TELEPHONE = re.compile(
    r"""
    (?<![0-9.\-])
    (?: \+ (?P<country> [0-9]{1,3} ) [ -] )?
    (?: \(? (?P<closed> 0[0-9]{1,3} ) \) [ -]?
      | (?P<area> (?: (?<=[0-9][ -]) [0-9]{1,3} | 0[0-9]{1,3} | 1[3-9][0-9] ) )
        (?P<gap> [ .-] )
    )
    (?P<first> [0-9]{3,4} )
    (?P<within> (?(closed) [ -]? | (?(country) [ .-] | (?P=gap) ) ) )
    (?P<last> [0-9]{4} )
    (?![0-9])
    """,
    re.VERBOSE,
)


def read_telephones(text: str, say: Callable[[str, list[str]], str]) -> str:
    """Put words in the place of telephone numbers.

    Args:
        text: The text.
        say: Gets the code of the country, often empty, and the other groups of digits.

    Example:
        >>> read_telephones("+82 10-1234-5678", lambda code, rest: f"{code} {rest}")
        "82 ['10', '1234', '5678']"
        >>> read_telephones("(02)1234567", lambda code, rest: " ".join(rest))
        '02 1234567'
    """

    def read(match: re.Match[str]) -> str:
        area = match["closed"] or match["area"]
        number = [match["first"], match["last"]]
        if not match["within"]:
            number = ["".join(number)]
        return say(match["country"] or "", [area, *number])

    return TELEPHONE.sub(read, text)
