"""``make bench``: obuild against ``docker build``, on the same engine, in pairs.

Each pair runs the same steps with both, one right after the other, the order changing from
pair to pair; what counts is the median of the ratios. Engines of the tests' own are started
for it and deleted afterwards, so nothing else stands in their stores; each build is on the
default network of its tool.
"""

__all__: list[str] = []
