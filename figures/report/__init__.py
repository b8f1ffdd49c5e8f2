"""The reproduction report: what the paper claims, what was measured, and a verdict that follows from the numbers."""
