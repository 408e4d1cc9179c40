"""The lab: real Debian kernels in emulated machines, with networks whose cables can be pulled."""
