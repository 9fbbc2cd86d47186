"""A trained model for others: one file, or a folder for the Hugging Face hub."""
