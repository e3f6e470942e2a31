"""How a site does for its customers: measurements kept as sketches, and what they say of a release.

`tokens`, `reports` and `sketch` are pure. `collect` takes reports in, `models` keeps them, `rollup` keeps them small,
`selectors` is what everybody else reads.
"""
