"""What Lichen's agents share: BPF through libbpf, a control socket, files that are safe to read, systemd."""
