"""What is inside a disk image, read without mounting it: bytes, partitions, the files of an ext4.

``blob`` is a stretch of a file, ``disk`` finds the partitions, ``ext4`` reads a file system, ``erofs`` unpacks one,
``tree`` is what a reader makes of one. Nothing here needs root, and no name of an image becomes a path of this machine.
"""
