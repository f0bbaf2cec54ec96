"""What every strategy is doing, gathered from what is stored: for the command ``status``, and for pages."""
