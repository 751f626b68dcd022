"""Outside systems, one file each, imported only when used."""
