"""A client of the service, from a shell or from Python: what `tuner serve` does, over its REST interface alone.

connection.py   one server: its address, a token, and every failure as the error that it is
events.py       server-sent events, read and taken up again where they were cut
server.py       `connect`: the studies of a server
study.py        one study of a server
"""
