"""Every public name says what it is, what it takes, what it gives and what it refuses."""

import ast
import re

import pytest


# Sub-packages that users call from Python; the command line has its own help.
NO_API = {"cli"}
DOORS = {"_simulate", "_descend", "_limit", "_solution", "_citation"}
# What is still to be documented: this table is meant to empty.
OWED = {
    "AbstractFlow",
    "AbstractParametrization",
    "AbstractTask",
    "ConvNet",
    "GradedFactor",
    "GradedTangent",
    "Images",
    "InfeasibleTargetsError",
    "MLP",
    "Substeps",
    "TextTask",
    "generator",
    "predict",
    "write_atomically",
}
# An array without its shape: doors that convert take `ArrayLike`, whose shape is in the text.
BARE = {"Array", "jax.Array", "np.ndarray", "jnp.ndarray", "numpy.ndarray"}
CHECKS = re.compile(r"_checks\.(?!concrete|numeric)\w+")


class Package:
    """The public definitions of the package, read off its sources."""

    def __init__(self, sources):
        self.trees = {name: ast.parse(text) for name, text in sources.items()}
        self.definitions = {
            (name, node.name): node
            for name, tree in self.trees.items()
            for node in tree.body
            if isinstance(node, ast.FunctionDef | ast.ClassDef)
        }
        self.classes = {
            key[1]: node for key, node in self.definitions.items() if isinstance(node, ast.ClassDef)
        }

    def public(self):
        """(place, definition) of everything that a sub-package exports."""
        for name, tree in self.trees.items():
            parts = name.split("/")
            if parts[-1] != "__init__.py" or len(parts) < 3 or {*parts} & NO_API:
                continue
            if any(part.startswith("_") for part in parts[1:-1]):
                continue
            for node in tree.body:
                if isinstance(node, ast.ImportFrom) and node.level == 1 and node.module:
                    home = "/".join([*parts[:-1], *node.module.split(".")]) + ".py"
                    for alias in node.names:
                        if (home, alias.name) in self.definitions:
                            yield home, self.definitions[home, alias.name]
        for (name, public), node in self.definitions.items():
            stem = name.removeprefix("implicit_flow/").removesuffix(".py")
            # A door has the name of its file; beside it stand the classes that it returns.
            if stem in DOORS and (public == stem[1:] or public[0].isupper()):
                yield name, node

    def inherited(self, node):
        """Names that the bases of a class define."""
        names = set()
        for base in node.bases:
            base = base.value if isinstance(base, ast.Subscript) else base
            parent = self.classes.get(ast.unparse(base).split(".")[-1])
            if parent is not None:
                names |= self.inherited(parent)
                names |= {child.name for child in parent.body if isinstance(child, ast.FunctionDef)}
        return names


def section(text, title):
    """The text below `Title:`, up to the next section."""
    match = re.search(rf"^ *{title}:\n(.*?)(?=^ *[A-Z][a-z]+:$|\Z)", text, re.S | re.M)
    return match.group(1) if match else ""


def parameters(function):
    arguments = function.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return [argument for argument in every if argument.arg not in ("self", "cls")]


def decorators(function):
    return {ast.unparse(decorator).split(".")[-1] for decorator in function.decorator_list}


def of_function(place, function, *, brief=False, beside=""):
    """What is missing from a function; one that repeats a documented one inherits its docstring.

    The docstring of a class, `beside`, may document its constructor.
    """
    found = []
    text = ast.get_docstring(function) or beside
    if not text and not brief:
        return [f"{place}: no docstring"]
    for argument in parameters(function):
        if argument.annotation is None:
            found.append(f"{place}: `{argument.arg}` has no annotation")
        elif ast.unparse(argument.annotation) in BARE and not brief:
            found.append(f"{place}: `{argument.arg}` has no shape")
    if brief:
        return found
    documented = section(text, "Args") + section(beside, "Args")
    found += [
        f"{place}: Args lacks `{argument.arg}`"
        for argument in parameters(function)
        if not re.search(rf"^ *\*{{0,2}}{argument.arg}:", documented, re.M)
    ]
    returned = ast.unparse(function.returns) if function.returns else "None"
    if (
        returned not in ("None", "NoReturn")
        and parameters(function)
        and not section(text, "Returns")
    ):
        found.append(f"{place}: no Returns")
    raises = any(isinstance(node, ast.Raise) for node in ast.walk(function))
    raises |= bool(CHECKS.search(ast.unparse(function)))
    if raises and not section(text, "Raises"):
        found.append(f"{place}: no Raises")
    return found


def of_class(place, node, package):
    text = ast.get_docstring(node) or ""
    found = [] if text else [f"{place}: no docstring"]
    repeated = package.inherited(node)
    fields = [
        child.target.id
        for child in node.body
        if isinstance(child, ast.AnnAssign)
        and isinstance(child.target, ast.Name)
        and not child.target.id.startswith("_")
        and not child.target.id.endswith("_")
        and "ClassVar" not in ast.unparse(child.annotation)
    ]
    methods = {child.name: child for child in node.body if isinstance(child, ast.FunctionDef)}
    if fields and "__init__" not in methods:
        documented = section(text, "Attributes") + section(text, "Args")
        found += [
            f"{place}: Attributes lacks `{field}`"
            for field in fields
            if not re.search(rf"^ *{field}:", documented, re.M)
        ]
    for name, method in methods.items():
        if name == "__init__" or not name.startswith("_"):
            brief = name in repeated or "property" in decorators(method)
            beside = text if name == "__init__" and section(text, "Args") else ""
            found += of_function(f"{place}.{name}", method, brief=brief, beside=beside)
    return found


def violations(sources):
    package = Package(sources)
    found = []
    for home, node in package.public():
        place = f"{home} {node.name}"
        if isinstance(node, ast.ClassDef):
            found += of_class(place, node, package)
        else:
            found += of_function(place, node)
    return sorted(set(found))


def test_public_names_are_documented(sources):
    found = violations(sources)
    assert [line for line in found if not owed(line)] == []


def test_what_is_owed_is_still_owed(sources):
    """Who documents a name takes it off the table."""
    paid = OWED - {line.split()[1].split(".")[0].rstrip(":") for line in violations(sources)}
    assert paid == set()


def owed(line):
    return line.split()[1].split(".")[0].rstrip(":") in OWED


GOOD = '''
def f(x: Float[Array, " n"], *, y: int = 0) -> int:
    """One line.

    Args:
        x: a.
        y: b.

    Returns:
        c.

    Raises:
        ValueError: d.
    """
    raise ValueError
'''
PLANTED = {
    "no docstring": ('    """One line.', '    x = """One line.'),
    "an argument": ("        y: b.\n", ""),
    "no Returns": ("    Returns:\n        c.\n", ""),
    "no Raises": ("    Raises:\n        ValueError: d.\n", ""),
    "no shape": ('Float[Array, " n"]', "Array"),
    "no annotation": (": int = 0", "=0"),
}


def planted(text):
    return {
        "implicit_flow/part/__init__.py": "from ._x import f as f",
        "implicit_flow/part/_x.py": text,
    }


def test_a_good_docstring():
    assert violations(planted(GOOD)) == []


@pytest.mark.parametrize("case", PLANTED)
def test_a_planted_violation_is_found(case):
    before, after = PLANTED[case]
    assert before in GOOD
    assert len(violations(planted(GOOD.replace(before, after)))) == 1
