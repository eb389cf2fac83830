"""Extensions as data: catalogue entries, their support tables and the settings that they are sent."""
