"""The learnt reward in other libraries: Gymnasium, Stable-Baselines3, imitation, torch.export."""
