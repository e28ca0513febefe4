"""The store, downloads into it and exports from it, against real servers, processes, disks and apt."""
