"""Implementations of the same work that the bench compares.

Each module has `prepare(run, events)`, which returns the work for one event, and the clean-up. `product` is the
product, `messages` its queue trigger; `baseline` is bare aiohttp; `sdk` uses the SDK clients with their defaults;
`script` is what a user would write; `bare` sends the product's own requests with bare aiohttp.
"""
