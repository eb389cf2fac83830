"""Microsoft Entra ID, as far as clients of ARM ask it: sign-in, tokens, and the keys that sign them."""
