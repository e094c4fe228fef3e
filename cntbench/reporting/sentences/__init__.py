"""Every sentence of the page and the terminal about a result."""
