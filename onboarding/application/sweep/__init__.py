"""The timer that finds what events missed."""
