"""What all agents need of the kernel."""


def test_kernel_compiles_bpf_programs(host):
    """Otherwise it refuses most of the sensor's programs and the scheduler; on riscv64 it is off unless asked for."""
    assert host.sysctl("net.core.bpf_jit_enable") == 1
