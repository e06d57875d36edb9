"""The same barycenters by other libraries, each in an environment of its own."""
