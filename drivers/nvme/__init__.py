"""The driver: any controller, over any transport."""
