"""Takes connections and closes them."""

import socket

both = socket.has_dualstack_ipv6()
server = socket.create_server(("", 8080), family=socket.AF_INET6 if both else socket.AF_INET, dualstack_ipv6=both)
while True:
    server.accept()[0].close()
