"""The networks: transformer, encoders, heads, and the policy that plays with one."""
