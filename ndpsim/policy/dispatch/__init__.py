"""Built-in dispatch policies, one file each."""
