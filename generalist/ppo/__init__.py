"""PPO of the sequence model: what the amplifier finetune and the control multitask-rl have in common."""
