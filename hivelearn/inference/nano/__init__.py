"""The nano model that ships inside the package: its files, its texts, its making."""
