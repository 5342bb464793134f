"""What is measured, against what. Nothing here is part of the product or of its test suite."""
