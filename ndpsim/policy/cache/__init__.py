"""Built-in cache policies, one file each."""
