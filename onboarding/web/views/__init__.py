"""The views: each module has `data`, which says what one view shows, as JSON."""
