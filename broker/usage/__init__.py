"""What agents say that devices, kernels and hosts do: kept for minutes, and passed on to who watches."""
