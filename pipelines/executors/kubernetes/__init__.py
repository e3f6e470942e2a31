"""Kubernetes, beneath the strategies: one door to a cluster's API, manifests, plans, applying, drift.

Nothing here decides how a release is brought in; `pipelines/executors/rollout/kubernetes` does. The `kubernetes`
package takes most of a second to import, so only `transport` imports it, and only when it is about to connect.
"""
