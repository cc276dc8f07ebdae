"""PPO for the sequence model, used by the amplifier finetune and the control multitask-rl."""
