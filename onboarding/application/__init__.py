"""From a notification to a row: the steps of an event, over ports. It knows no Azure SDK."""
