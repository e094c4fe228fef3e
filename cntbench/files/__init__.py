"""What comes from files and what goes into them, whatever their format."""
