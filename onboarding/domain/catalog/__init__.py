"""Extensions as data: catalogue entries, their support tables and their settings."""
