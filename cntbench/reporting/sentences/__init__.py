"""Every sentence that the page and the terminal say of a result."""
