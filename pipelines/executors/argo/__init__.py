"""Workflows of Argo: submitted for a stage, followed, and read."""
