"""A functions host for the laptop: `python -m simulator.host --app DIR`.

It runs an app's `function_app.py` under `azure-functions-runtime`, the worker library that Azure loads, and stands
in for the host before it: webhook and HTTP doors, queue listeners, timers, settings, logs. What differs from the
real host is said in the module that differs. Above all: host and worker are one process here, so an app that
blocks the event loop blocks the door as well.
"""
