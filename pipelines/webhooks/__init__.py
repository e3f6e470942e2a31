"""Pushes as GitHub, GitLab, Gitea and plain git announce them: one module for each, all read the same way by `views`.

A module knows three things: how its provider signs (`is_signed`), how it names a delivery (`delivery`), and where in
its message the push stands (`read`). docs/webhooks.md says how to add another.
"""
