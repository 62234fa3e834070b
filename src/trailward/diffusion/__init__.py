"""Windows -> diffuser -> plans: schedule, denoiser, guide, sampler, training."""
