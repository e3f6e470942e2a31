"""Argo Workflows: what exists is read here, drawn, and put under ownership."""
