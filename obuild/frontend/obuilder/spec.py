"""A whole spec: stages, nested builds, and which builds a copy may name."""

from __future__ import annotations

from obuild.errors import ScriptError, nearest
from obuild.frontend.obuilder.fields import Fields, atom, refuse
from obuild.frontend.obuilder.ops import read_op
from obuild.ir.ops import Base, Build, Copy, Stage
from obuild.sexp import Atom, List, Node, quote, read_one
from obuild.source import Place, Text

__all__ = ["read_spec"]

_MAX_DEPTH = 100


def read_spec(text: Text) -> Build:
    """The build that a spec says. Raises ``ScriptError`` with the place and a hint."""
    stage = _read_stage(read_one(text), depth=0)
    _check_scope(stage, {})
    return Build(stage)


def _read_stage(node: Node, depth: int) -> Stage:
    if isinstance(node, Atom):
        raise refuse(node.place, "a spec must be a list: ((from IMAGE) (run …) …)")
    if depth > _MAX_DEPTH:
        raise refuse(node.place, f"builds are nested more than {_MAX_DEPTH} deep")
    builds: list[tuple[str, Stage]] = []
    for index, item in enumerate(node.items):
        head = _head(item)
        if head == "build":
            builds.append(_read_nested(item, depth))
        elif head == "from":
            ops = tuple(read_op(op) for op in node.items[index + 1 :])
            return Stage(_read_base(item), ops, tuple(builds))
        else:
            raise refuse(
                item.place,
                "before the ops there must be a (from IMAGE), with only (build …) before it",
                _near_head(head),
            )
    raise refuse(_end(node), "this build has no (from IMAGE)", "name the image to start from")


def _near_head(head: str | None) -> str | None:
    near = nearest(head, ["from", "build"]) if head else None
    return f"did you mean {near}?" if near else None


def _head(node: Node) -> str | None:
    if isinstance(node, List) and node.items and isinstance(node.items[0], Atom):
        return node.items[0].text
    return None


def _end(node: List) -> Place:
    return Place(node.place.text, node.place.end - 1, node.place.end)


def _read_nested(node: Node, depth: int) -> tuple[str, Stage]:
    assert isinstance(node, List)
    if len(node.items) != 3:
        raise refuse(node.place, "a nested build is (build NAME ((from IMAGE) …))")
    return atom(node.items[1], "the name of a build"), _read_stage(node.items[2], depth + 1)


def _read_base(node: Node) -> Base:
    assert isinstance(node, List)
    if len(node.items) < 2:
        raise refuse(node.place, "from needs the name of an image: (from debian:12)")
    image = atom(node.items[1], "the name of an image")
    extra = node.items[2:]
    if any(isinstance(item, Atom) for item in extra):
        raise refuse(node.place, "from takes one image", "a tag is part of the name: (from a:b)")
    fields = Fields.read("from", node.place, extra, ["resolve", "platform"])
    platform = fields.optional("platform", lambda n: atom(n, "a platform"), None)
    if "resolve" in fields.found and len(fields.found["resolve"].items) != 1:
        raise refuse(fields.found["resolve"].place, "(resolve) takes no argument")
    return Base(image, platform, "resolve" in fields.found, place=node.place)


def _check_scope(stage: Stage, scope: dict[str, None]) -> None:
    """A copy may name the builds nested in its stage, and those that stand before it."""
    inner = dict(scope)
    for name, nested in stage.builds:
        _check_scope(nested, inner)
        inner[name] = None
    for op in stage.ops:
        if isinstance(op, Copy) and op.build is not None and op.build not in inner:
            raise _unknown_build(op, op.build, list(inner))


def _unknown_build(op: Copy, name: str, known: list[str]) -> ScriptError:
    near = nearest(name, known)
    if near is not None:
        hint = f"did you mean {quote(near)}?"
    elif known:
        hint = f"the builds in scope here: {', '.join(quote(n) for n in sorted(known))}"
    else:
        hint = "nest one before the (from …) of this build: (build NAME ((from IMAGE) …))"
    return ScriptError(f"there is no build {quote(name)} here", place=op.place, hint=hint)
