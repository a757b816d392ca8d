"""A class is abstract, and says so by its name, or final."""

import ast

import pytest


def outsiders(tree):
    """Names of modules that are not ours."""
    return {
        (alias.asname or alias.name).split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
        if not alias.name.startswith("implicit_flow")
    }


def bases_of(node, others):
    """Names of the bases that may be ours."""
    for base in node.bases:
        path = ast.unparse(base.value if isinstance(base, ast.Subscript) else base).split(".")
        if len(path) == 1 or path[0] not in others:
            yield path[-1]


def declares(node):
    """Whether a class has an abstract method or field in its own body."""
    marks = [
        ast.unparse(decorator)
        for child in node.body
        if isinstance(child, ast.FunctionDef)
        for decorator in child.decorator_list
    ]
    fields = [child for child in node.body if isinstance(child, ast.AnnAssign)]
    marks += [ast.unparse(field.annotation) for field in fields]
    return any("abstractmethod" in mark or "AbstractVar" in mark for mark in marks)


def classes(sources):
    """Name -> (place, names of bases, whether it declares something abstract)."""
    found = {}
    for name, text in sources.items():
        tree = ast.parse(text)
        others = outsiders(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                place = f"{name}:{node.lineno}"
                found[node.name] = (place, list(bases_of(node, others)), declares(node))
    return found


def is_abstract(name):
    return name.lstrip("_").startswith("Abstract")


def violations(sources):
    ours, found = classes(sources), []
    for name, (place, bases, declared) in ours.items():
        for base in bases:
            if base in ours and not is_abstract(base):
                found.append(f"{place}: {name} is a subclass of the final class {base}")
        if declared and not is_abstract(name):
            found.append(f"{place}: {name} declares abstract methods: call it Abstract{name}")
        inherits = any(is_abstract(base) for base in bases)
        if is_abstract(name) and not declared and not inherits:
            found.append(f"{place}: {name} has nothing abstract")
    return found


def test_abstract_or_final(sources):
    assert violations(sources) == []


PLANTED = {
    "subclass of a final class": "class A: pass\nclass B(A): pass",
    "through its module": "class A: pass\nclass B(package.A): pass",
    "generic": "class A: pass\nclass B(A[int]): pass",
    "abstract without the name": "class A:\n    @abc.abstractmethod\n    def f(self): ...",
    "abstract by a field": "class A:\n    x: eqx.AbstractVar[int]",
    "the name alone": "class AbstractA: pass",
}


@pytest.mark.parametrize("case", PLANTED)
def test_a_planted_violation_is_found(case):
    assert len(violations({"x.py": PLANTED[case]})) == 1
