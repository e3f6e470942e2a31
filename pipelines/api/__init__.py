"""The REST API under /api/: what pages show and do, for programs. Every change goes through `pipelines.runs`.

`bodies` is what requests hold, `answers` what they are answered with, `shapes` describes those answers in the OpenAPI
document, and each `*_views` module holds the addresses of one kind of thing.
"""
