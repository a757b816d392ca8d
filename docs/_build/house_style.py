"""How mkdocstrings reads the sources: an extension of Griffe."""

import ast
import re

import griffe


class HouseStyle(griffe.Extension):
    """The conventions of this package that Griffe does not know."""

    def on_alias_instance(self, *, node: object, alias: griffe.Alias, **_: object) -> None:
        """`from ._x import f as f` is an export (PEP 484); Griffe counts `__all__` only.

        Args:
            node: the statement.
            alias: the name that it makes.
        """
        if isinstance(node, ast.ImportFrom):
            alias.public = any(n.asname == n.name == alias.name for n in node.names)

    def on_object(self, *, obj: griffe.Object, **_: object) -> None:
        """`Example:` holds code, as `Examples:` does.

        Args:
            obj: whatever has a docstring.
        """
        if obj.docstring is not None:
            obj.docstring.value = re.sub(
                r"^( *)Example:$", r"\1Examples:", obj.docstring.value, flags=re.MULTILINE
            )
