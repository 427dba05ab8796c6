"""The routes of `/api/v1`, by what they are about.

answering.py    how a request reaches a route, and a typed answer its client
bodies.py       what clients send
studies.py      submit, check, list and look at studies
trials.py       trials, curves, events as they happen
changes.py      stop, continue, clone, rename, archive, delete, notes, many at once
files.py        export, best configuration, report, scores of new rows
datasets.py     registered data
tokens.py       tokens, audit, who asks
"""
