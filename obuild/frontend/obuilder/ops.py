"""One op: its S-expression to its value."""

from __future__ import annotations

from collections.abc import Callable

from obuild.errors import nearest
from obuild.frontend.obuilder.fields import Fields, atom, integer, pairs, refuse
from obuild.ir.ops import (
    Cache,
    Comment,
    Copy,
    Env,
    NamedUser,
    Op,
    Run,
    Secret,
    Shell,
    UnixUser,
    User,
    UserOp,
    Workdir,
)
from obuild.sexp import Atom, List, Node
from obuild.source import Place

__all__ = ["NAMES", "read_op"]

NAMES = ["comment", "workdir", "shell", "run", "copy", "user", "env"]

# Ops whose arguments are one value; with a small first letter its list may be left out.
_INLINE = {"run", "copy", "user", "env"}

# Words of obuild's own that need (rules dockerfile); see hint_for.
_EXTENSIONS = {
    *("add", "arg", "author", "cmd", "entrypoint", "expose", "healthcheck", "label"),
    *("onbuild", "stopsignal", "volume", "rules"),
}


def read_op(node: Node) -> Op:
    """An op of a stage. Raises ``ScriptError`` at the part that is wrong."""
    if isinstance(node, Atom):
        raise refuse(node.place, f"an op must be a list, not the word {node.text!r}", _example())
    if not node.items or isinstance(node.items[0], List):
        raise refuse(node.place, "an op must begin with its name", _example())
    name = node.items[0].text
    args = node.items[1:]
    small = name[:1].lower() + name[1:]
    if small not in NAMES:
        raise refuse(node.items[0].place, f"there is no op {name!r}", _hint(name))
    if small in _INLINE and name != small:
        args = _inner(node, args)
    return _READERS[small](args, node.place)


def _example() -> str:
    return 'for example (run (shell "make"))'


def _hint(name: str) -> str:
    if name in ("from", "build"):
        return f"({name} …) stands before all ops, and (build …) before (from …)"
    near = nearest(name, NAMES)
    if near:
        return f"did you mean {near}?"
    if name.lower() in NAMES:
        return f"did you mean {name.lower()}?"
    if name in _EXTENSIONS:
        return f"{name} has no meaning in a stage with OBuilder's rules"
    return f"the ops are {', '.join(NAMES)}"


def _inner(node: List, args: tuple[Node, ...]) -> tuple[Node, ...]:
    if len(args) == 1 and isinstance(args[0], List):
        return args[0].items
    raise refuse(node.place, "with a capital, this op takes its fields in one list")


def _words(args: tuple[Node, ...], place: Place, op: str, names: tuple[str, ...]) -> list[str]:
    if len(args) != len(names):
        form = f"({op} {' '.join(names)})"
        raise refuse(
            place,
            f"{op} takes {len(names)} argument{'s' if len(names) > 1 else ''}, "
            f"not {len(args)}: {form}",
            "quote a text that has blanks" if len(args) > len(names) else None,
        )
    return [atom(arg, f"the {what.lower()} of {op}") for arg, what in zip(args, names, strict=True)]


def _comment(args: tuple[Node, ...], place: Place) -> Op:
    (text,) = _words(args, place, "comment", ("TEXT",))
    return Comment(text, place=place)


def _workdir(args: tuple[Node, ...], place: Place) -> Op:
    (path,) = _words(args, place, "workdir", ("PATH",))
    return Workdir(path, place=place)


def _shell(args: tuple[Node, ...], place: Place) -> Op:
    return Shell(tuple(atom(arg, "an argument of shell") for arg in args), place=place)


def _env(args: tuple[Node, ...], place: Place) -> Op:
    name, value = _words(args, place, "env", ("NAME", "VALUE"))
    return Env(name, value, place=place)


def _user(args: tuple[Node, ...], place: Place) -> Op:
    return UserOp(_read_user(args, place), place=place)


def _read_user(args: tuple[Node, ...], place: Place) -> User:
    shape = [_field_name(arg) for arg in args]
    if shape == ["uid", "gid"]:
        uid, gid = (_only(arg) for arg in args)
        return UnixUser(integer(uid, "the uid"), integer(gid, "the gid"))
    if shape == ["name"]:
        return NamedUser(atom(_only(args[0]), "the name of a user"))
    raise refuse(
        place, "a user is (uid N) (gid N), in this order, or for Windows guests (name NAME)"
    )


def _field_name(node: Node) -> str | None:
    if isinstance(node, List) and len(node.items) == 2 and isinstance(node.items[0], Atom):
        return node.items[0].text
    return None


def _only(node: Node) -> Node:
    assert isinstance(node, List)
    return node.items[1]


def _run(args: tuple[Node, ...], place: Place) -> Op:
    fields = Fields.read("run", place, args, ["cache", "network", "secrets", "shell"])
    return Run(
        cache=fields.each("cache", _read_cache),
        network=fields.each("network", lambda n: atom(n, "a network")),
        secrets=fields.each("secrets", _read_secret),
        shell=fields.one("shell", lambda n: atom(n, "a command")),
        place=place,
    )


def _mount(node: Node, what: str) -> tuple[str, str, tuple[tuple[str, str], ...]]:
    if isinstance(node, Atom) or not node.items or isinstance(node.items[0], List):
        raise refuse(node.place, f"a {what} is (ID (target PATH))")
    identifier = node.items[0].text
    fields = Fields.read(
        f"the {what} {identifier}", node.place, node.items[1:], ["buildkit_options", "target"]
    )
    return (
        identifier,
        fields.one("target", lambda n: atom(n, "a target")),
        fields.optional("buildkit_options", lambda n: pairs(n, "buildkit_options"), ()),
    )


def _read_cache(node: Node) -> Cache:
    return Cache(*_mount(node, "cache"))


def _read_secret(node: Node) -> Secret:
    return Secret(*_mount(node, "secret"))


def _copy(args: tuple[Node, ...], place: Place) -> Op:
    fields = Fields.read("copy", place, args, ["from", "src", "dst", "exclude"])
    return Copy(
        src=fields.each("src", lambda n: atom(n, "a source"), needed=True),
        dst=fields.one("dst", lambda n: atom(n, "a destination")),
        exclude=fields.each("exclude", lambda n: atom(n, "an excluded name")),
        build=fields.optional("from", _read_source, None),
        place=place,
    )


def _read_source(node: Node) -> str | None:
    match node.value():
        case "context":
            return None
        case ("build", str(name)):
            return name
    raise refuse(node.place, "a copy is from context or from (build NAME)")


_READERS: dict[str, Callable[[tuple[Node, ...], Place], Op]] = {
    "comment": _comment,
    "workdir": _workdir,
    "shell": _shell,
    "env": _env,
    "user": _user,
    "run": _run,
    "copy": _copy,
}
