"""What the study internet computes: placements, what clients see of them, announcements, floods."""
