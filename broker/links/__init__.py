"""The three kinds of WebSockets: of clients, of agents (control), of kernel processes (data)."""
