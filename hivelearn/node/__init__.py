"""The facade a user holds, and the two stories that connect all other rooms."""
