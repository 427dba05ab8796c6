"""The service: studies launched, watched, stopped and taken away over REST and from a browser.

studies.py      what the doors do with studies: read the ledger, write what is wanted
supervisor.py   compares what is wanted with what runs, and starts drivers
app.py          the ASGI application; security.py before it; rest/ and pages/ behind it
"""
