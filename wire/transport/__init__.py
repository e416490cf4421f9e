"""How bytes travel: addresses, TLS, credentials, HTTP, RecordIO."""
