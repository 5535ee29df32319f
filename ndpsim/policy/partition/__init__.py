"""Built-in partition policies, one file each."""
