"""Routing workflows, one file each: a machine and its steps. Users' own look the same."""
