"""Walking a build: which steps it has, which are there already, and doing the others.

``plan`` tells what follows from the inputs alone. ``Executor`` begins with that, looks the
keys up in the store, and asks the engine one small question if all of them are there; it
starts the engine only for a step that is missing. What was read of the build context for
the plan is not read again. Who wants a plan alone loads neither store nor executor, so the
names are imported from where they stand.

Each stage is walked by a thread (``walk``, ``stages``). A step is performed under the lock of
its key (``perform``); whoever waits for one follows its log (``following``). ``Explainer``
compares a step that is not stored with its last build; ``explain`` does so for a whole plan.
"""

__all__: list[str] = []
