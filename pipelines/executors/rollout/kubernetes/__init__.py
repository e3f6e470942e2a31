"""The `kubernetes` target of rollouts: releases in namespaces of clusters.

`shape` makes of a release's objects what each step applies (pure), `seen` follows the pods, `place` is one namespace,
`target` all places of an environment together, `records` what is kept in the cluster, `ground` the way in.
"""
