"""What people see of a run: figures, the report, progress."""
