"""obuild: run build scripts in sandboxed containers, one cached snapshot a step.

The packages are the passes, in this order; each imports only from those before it:
source, errors, platforms, resources; sexp, events; ir; frontend, context; scope, keys;
store, engine; executor, progress; cli.
"""

__version__ = "0.1.0"
