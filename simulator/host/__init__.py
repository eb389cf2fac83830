"""A functions host for the laptop: `python -m simulator.host --app DIR`.

It runs an app's `function_app.py` under `azure-functions-runtime`, the worker library that Azure loads, and replaces
the host: webhook and HTTP endpoints, queue listeners, timers, settings, logs. Each module names its differences from
the real host. The main one: host and worker are one process here, so an app that blocks the event loop also blocks
the endpoints.
"""
