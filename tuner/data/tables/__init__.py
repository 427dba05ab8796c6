"""Tables as their files have them: found, unpacked and read, their cells uninterpreted."""
