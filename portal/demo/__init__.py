"""The demonstration: an organisation of three teams, a repository made from this tree, and one push on its way."""
