"""`build`: an image of the commit, made by a Docker Engine, with BuildKit where a command line offers it."""
