"""The resource agent: moves weights and memory limits of declared units by the pressure that the kernel sees (PSI)."""
