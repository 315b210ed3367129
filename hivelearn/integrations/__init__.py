"""hivelearn inside other people's training loops."""
