"""The service's browser pages: written on the server, kept live by htmx, usable without any script.

frame.py, words.py    what all pages have in common
login, listing, study, launch, datasets, tokens    one page each, as pure functions of answers
assets.py             style and scripts, under addresses that change with their content
live.py               pages as they change; routes.py, the addresses
"""
