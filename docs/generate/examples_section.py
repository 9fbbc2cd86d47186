"""For griffe: the section ``Example:`` of our docstrings is its ``Examples:``."""

import re
from typing import Any

import griffe


class ExamplesSection(griffe.Extension):
    """Rename the section, so that its code is shown as code."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """See each docstring once it is read."""
        if obj.docstring:
            text = obj.docstring.value
            obj.docstring.value = re.sub(
                r"^( *)Example:$", r"\1Examples:", text, flags=re.M
            )
