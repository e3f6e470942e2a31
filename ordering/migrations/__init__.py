"""Expand first, contract later: old and new code both have to work with the migrated schema.

The schema is migrated before the new release is rolled out, and while it rolls out (and after a rollback) the
old release goes on reading and writing the same tables. So one release may only

- add a table, an index, or a column that is nullable or has a `db_default` (the old code inserts rows without
it);
- start to write a new column while it still writes the old one;
- add a constraint that every row satisfies which the running release writes.

Removing or renaming a column, or making it required, takes three releases: expand (add the new one, write
both), backfill (a data migration of its own, in batches), contract (drop the old one once no running or kept
release reads it). Never edit a migration that has been published.
"""
