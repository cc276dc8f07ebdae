"""The settings of the generalist; importing them does not import torch."""
