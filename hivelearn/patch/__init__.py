"""The records everybody speaks of: adapter, body, envelope, notice, verdict."""
