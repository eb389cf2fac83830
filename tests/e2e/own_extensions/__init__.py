"""Extensions of the user's own, on real parts."""
