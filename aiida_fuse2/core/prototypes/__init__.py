"""Structure types: libraries of them, what a composition can adopt, and the names of structures."""
