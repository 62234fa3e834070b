"""HalfCheetah: its packaged policies, recipes and pictures."""
