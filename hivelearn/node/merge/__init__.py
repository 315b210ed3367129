"""Arrived patches become better answers, or leave a reason why not."""
