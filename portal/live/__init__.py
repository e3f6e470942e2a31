"""Live events over WebSockets: the event table is the truth, wake-ups only say when to look at it.

`frames` reads and encodes, `wakeups` says when to look, `follower` looks once for all sockets of this process and
hands each run's frame to its followers, `nudges` does the same for list pages, `access` decides who may stay, and
`consumers` are the sockets themselves.
"""
