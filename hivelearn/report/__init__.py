"""Tables and figures from plain numbers; knows nothing of nodes or patches."""
