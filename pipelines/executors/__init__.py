"""One module or folder for each kind of work. Only `pipelines.engines` imports from here."""
