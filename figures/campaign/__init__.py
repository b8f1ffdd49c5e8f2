"""A campaign of trainings with a budget: its stages in order, its records, and the command that works through them."""
