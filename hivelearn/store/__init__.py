"""What a node remembers: blobs, the shelf of patches, generations, corrections.

One directory, one SQLite file, one writer at a time, any number of readers.
"""
