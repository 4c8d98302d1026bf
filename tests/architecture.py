"""What holds for the code as a whole, found by reading it; nothing is imported.

``violations(root)`` reads the package ``root/obuild``. The unit of the layers is a package
(``engine.docker`` and ``frontend.obuilder`` are their own) or a module of layer 0. An import
counts wherever it stands: in a function, and under ``TYPE_CHECKING``, too.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["LAYERS", "MAX_LINES", "Module", "read", "violations"]

LAYERS = {
    **dict.fromkeys(("source", "errors", "platforms", "resources", "values"), 0),
    **dict.fromkeys(("sexp", "events"), 1),
    "ir": 2,
    **dict.fromkeys(
        ("frontend", "frontend.obuilder", "frontend.dockerfile", "context", "layers"), 3
    ),
    **dict.fromkeys(("scope", "keys", "images"), 4),
    **dict.fromkeys(("store", "engine", "engine.docker", "engine.native"), 5),
    **dict.fromkeys(("executor", "progress"), 6),
    "cli": 7,
    "__main__": 8,
}
MAX_LINES = 350

_AT_HOME = {
    "docker": ("engine.docker", "images"),
    "requests": ("engine.docker", "images"),
    "urllib3": ("engine.docker", "images"),
    "rich": ("progress",),
    "lark": ("sexp", "frontend", "frontend.obuilder", "frontend.dockerfile"),
    "sqlite3": ("store",),
}
"""Libraries that one part hides from all others."""

_ENVIRONMENT = {
    "os": {"environ", "environb", "getenv", "getenvb", "putenv", "unsetenv"},
    "os.path": {"expanduser", "expandvars"},
}
_ENVIRONMENT_ATTRIBUTES = set().union(*_ENVIRONMENT.values()) | {"from_env", "kwargs_from_env"}
_DYNAMIC = {"import_module", "__import__"}


@dataclass(frozen=True, slots=True)
class Module:
    """One file: its dotted name, its text's lines, its syntax."""

    name: str
    path: Path
    lines: int
    tree: ast.Module

    @property
    def is_package(self) -> bool:
        return self.path.name == "__init__.py"

    @property
    def unit(self) -> str:
        """The part of the program that the module belongs to, ``""`` for obuild itself."""
        parts = self.name.split(".")[1:]
        pair = ".".join(parts[:2])
        return pair if pair in LAYERS else ".".join(parts[:1])


def read(root: Path) -> dict[str, Module]:
    """All modules of ``root/obuild``, by name."""
    found = {}
    for path in sorted((root / "obuild").rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        text = path.read_text("utf-8")
        found[name] = Module(name, path, len(text.splitlines()), ast.parse(text, str(path)))
    return found


def violations(root: Path) -> list[str]:
    """Everything that is wrong below ``root``, one line each."""
    modules = read(root)
    found = [] if modules else [f"{root}: no package obuild"]
    for module in modules.values():
        found += _form(module)
        found += _layers(module, modules)
        found += _libraries(module)
        found += _environment(module)
    return found + _cycles(modules) + _resources(root)


def _form(module: Module) -> Iterator[str]:
    if module.lines > MAX_LINES:
        yield f"{module.name}: {module.lines} lines, at most {MAX_LINES}"
    if not ast.get_docstring(module.tree):
        yield f"{module.name}: no docstring"
    names = {target.id for target in _assigned(module.tree) if isinstance(target, ast.Name)}
    if "__all__" not in names and module.unit not in ("", "__main__"):
        yield f"{module.name}: no __all__"


def _assigned(tree: ast.Module) -> Iterator[ast.expr]:
    for node in tree.body:
        if isinstance(node, ast.Assign):
            yield from node.targets
        elif isinstance(node, ast.AnnAssign):
            yield node.target


def _layers(module: Module, modules: dict[str, Module]) -> Iterator[str]:
    if module.unit == "":
        if module.name == "obuild" and list(_imports(module, modules)):
            yield "obuild: imports something; it is loaded before everything"
        return
    if module.unit not in LAYERS:
        yield f"{module.name}: {module.unit} is in no layer"
        return
    for imported, line in _imports(module, modules):
        unit = modules[imported].unit
        if unit in ("", module.unit) or unit not in LAYERS:
            continue
        above, below = LAYERS[module.unit], LAYERS[unit]
        # Packages of one kind stand on what they have in common: engine.docker on engine.
        if below < above or above == below == 0 or module.unit.startswith(f"{unit}."):
            continue
        yield f"{module.name}:{line}: layer {above} imports {imported} of layer {below}"


def _imports(module: Module, modules: dict[str, Module]) -> Iterator[tuple[str, int]]:
    """The modules of obuild that a module imports, with the line."""
    for name, line in _names(module):
        if name != module.name and name in modules:
            yield name, line


def _names(module: Module) -> Iterator[tuple[str, int]]:
    """Dotted names after ``import`` and ``from … import``, whether module or not."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(module, node)
            yield base, node.lineno
            yield from ((f"{base}.{alias.name}", node.lineno) for alias in node.names)


def _absolute(module: Module, node: ast.ImportFrom) -> str:
    if node.level == 0:
        return node.module or ""
    parts = module.name.split(".")
    parts = parts[: len(parts) - node.level + module.is_package]
    return ".".join([*parts, *([node.module] if node.module else [])])


def _libraries(module: Module) -> Iterator[str]:
    for name, line in _names(module):
        library = name.partition(".")[0]
        if library in _AT_HOME and module.unit not in _AT_HOME[library]:
            where = " and ".join(_AT_HOME[library])
            yield f"{module.name}:{line}: {library} is for {where} only"
            break


def _environment(module: Module) -> Iterator[str]:
    if module.unit == "cli":
        return
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute) and node.attr in _ENVIRONMENT_ATTRIBUTES:
            yield f"{module.name}:{node.lineno}: .{node.attr} reads the environment"
        elif isinstance(node, ast.ImportFrom) and node.module in _ENVIRONMENT:
            for alias in node.names:
                if alias.name in _ENVIRONMENT[node.module]:
                    yield f"{module.name}:{node.lineno}: {alias.name} reads the environment"
        if isinstance(node, ast.Call) and _called(node) in _DYNAMIC:
            yield f"{module.name}:{node.lineno}: an import that no reader of the code can see"


def _called(node: ast.Call) -> str:
    match node.func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case _:
            return ""


def _cycles(modules: dict[str, Module]) -> list[str]:
    """Each way round by imports, once.

    ``from package import submodule`` loads the package first; but a package and what lies
    in it are one unit of loading, so only imports that are written down count.
    """
    graph = {
        name: sorted({imported for imported, _ in _written(module, modules)})
        for name, module in modules.items()
    }
    found: list[str] = []
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            found.append("cycle: " + " -> ".join([*path[path.index(name) :], name]))
        elif name not in done:
            for imported in graph[name]:
                visit(imported, (*path, name))
            done.add(name)

    for name in graph:
        visit(name, ())
    return found


def _written(module: Module, modules: dict[str, Module]) -> Iterator[tuple[str, int]]:
    """Imports, without the package that merely stands before a submodule's name."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ImportFrom):
            base = _absolute(module, node)
            names = [f"{base}.{alias.name}" for alias in node.names]
            wanted = {name if name in modules else base for name in names}
        elif isinstance(node, ast.Import):
            wanted = {alias.name for alias in node.names}
        else:
            continue
        yield from ((name, node.lineno) for name in wanted if name in modules)


def _resources(root: Path) -> list[str]:
    return [
        f"{root / folder}: no files; the wheel takes them from there"
        for folder in ("grammar", "libexec")
        if not any(path.is_file() for path in (root / folder).glob("*"))
    ]
