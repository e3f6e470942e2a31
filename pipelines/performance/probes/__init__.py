"""Page views that nobody asked for: of each release, from the portal's side, in a browser and without one."""
