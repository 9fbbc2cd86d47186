"""Many people speaking at once: one model behind a websocket."""
