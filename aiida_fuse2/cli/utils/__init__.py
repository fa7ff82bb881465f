"""What commands do alike."""
