"""The broker client and the embedded broker, behind small interfaces."""
