"""What long work needs: whole files, owned folders, limits of memory, curves, and interruptions."""
