"""Walking a build: which steps it has, which are there already, and doing the others.

``plan`` tells what follows from the inputs alone. ``Executor`` begins with that, looks the
keys up in the store, and asks the engine one small question if all of them are there; it
starts the engine only for a step that is missing. What was read of the build context for
the plan is not read again.
"""

from obuild.executor.execute import Executor, Result
from obuild.executor.inputs import Inputs, Options
from obuild.executor.opening import open_engine
from obuild.executor.plan import Plan, PlannedStep, plan

__all__ = ["Executor", "Inputs", "Options", "Plan", "PlannedStep", "Result", "open_engine", "plan"]
