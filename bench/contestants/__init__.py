"""Who runs the line's race. Each module has `prepare(run, events)`: the work to do once per event, and the clean-up.

`line` is the product; `floor` bare aiohttp; `sdk` the SDK clients as they come; `script` what a user would write.
"""
