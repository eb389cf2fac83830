"""The adapters: the only part that knows the Azure SDKs and the wire."""
