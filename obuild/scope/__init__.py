"""The scope fold: ops, which inherit, to steps, in which nothing is implicit.

A scope is what ops inherit while a stage is walked. It starts anew in every stage: nothing
that a nested build sets is seen outside it, and nothing outside is seen within.
"""

from obuild.scope.fold import Scope, apply, start

__all__ = ["Scope", "apply", "start"]
