"""The service: studies launched, watched, stopped and taken away over REST and from a browser.

studies.py      what the doors do with studies: read the ledger, write what is wanted
supervisor.py   compares what is wanted with what runs; driver.py starts drivers, verdicts.py judges how they ended
app.py          the ASGI application; security.py before it; rest/ and pages/ behind it
"""
