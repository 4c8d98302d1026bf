"""The programs that run in guests, against what obuild makes of the same files."""
