"""Finds free ports on the loopback address."""

import socket


def is_free(port: int) -> bool:
    """Return whether a server could listen on a port now."""
    with socket.socket() as probe:
        # As for servers: a connection that was just closed does not count, a listener does.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def accepts(port: int) -> bool:
    """Return whether any program accepts connections on a port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free(preferred: int) -> int:
    """Return the first free port from `preferred` on."""
    return next(port for port in range(preferred, 65536) if is_free(port))


def taken_message(service: str, port: int, variable: str) -> str:
    """Return the message for a required port that is taken."""
    return (
        f"Port {port} for {service} is in use by another program. End that program, "
        f"set {variable} to a free port, or unset it to have one chosen."
    )
