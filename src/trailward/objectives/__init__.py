"""What is minimised when a reward is learnt: how far plans are from demonstrations."""
