"""How a site does for its customers: measurements kept as sketches, and what they say of a release."""
