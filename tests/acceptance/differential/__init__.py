"""The same notebook with and without ``%%gpu``, and everything that a user could tell the two apart by."""
