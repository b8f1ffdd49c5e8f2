"""The reproduction report: the paper's claims, the measurements, and a verdict that follows from the numbers."""
