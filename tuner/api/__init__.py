"""The Python library: run a study, open one, train one configuration, look after what studies leave."""
