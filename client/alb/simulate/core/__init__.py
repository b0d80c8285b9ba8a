"""What a trace says and what a replay showed: pure."""
