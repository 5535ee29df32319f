"""Host processors and links by the names that measurements give them."""

import re
from typing import Final

from ndpsim.cpu import CpuSpec
from ndpsim.errors import ConfigError
from ndpsim.link import LinkSpec
from ndpsim.spec import load_preset, preset_names

SOCKETS: Final = (
    (r"2x EPYC 7452.*(both|64c)", "epyc-7452-2p"),
    (r"2x Xeon Gold 6526Y.*(one NUMA|confined to one)", "xeon-gold-6526y"),
    (r"2x Xeon Gold 6526Y", "xeon-gold-6526y-2p"),
    (r"2x Xeon Gold 6454S", "xeon-gold-6454s-2p"),
)
"""Patterns in a processor's name and the remark that follows it, where sockets matter."""


def find_cpu(name: str, remark: str = "") -> CpuSpec:
    """The host a measurement names; raises a `ConfigError` if no preset is that host."""
    return load_preset("cpu", cpu_preset(name, remark), CpuSpec)


def cpu_preset(name: str, remark: str = "") -> str:
    """The name of the preset of a host: the one whose model number the name contains.

    >>> cpu_preset("AMD Ryzen 7950X, 2 CCD")
    'ryzen-9-7950x'
    """
    for pattern, preset in SOCKETS:
        if re.search(pattern, f"{name} {remark}"):
            return preset
    words = re.findall(r"[a-z0-9]+", name.lower())
    for preset in preset_names("cpu"):
        if preset.split("-")[-1] in words:
            return preset
    raise ConfigError("cpu", f"no preset for '{name}'" if name else "the host is not named")


def find_link(name: str, *, pinned: bool) -> LinkSpec:
    """A link such as "PCIe4 x16" or "NVLink-C2C"; raises a `ConfigError` if there is none."""
    pcie = re.fullmatch(r"PCIe(\d) x(\d+)", name)
    if pcie is None:
        preset = name.lower()
        if preset not in preset_names("link"):
            raise ConfigError("link", f"no preset for '{name or 'a link that is not named'}'")
        return load_preset("link", preset, LinkSpec)
    preset = f"pcie{pcie[1]}-x16{'' if pinned else '-pageable'}"
    return load_preset("link", preset, LinkSpec).model_copy(update={"lanes": int(pcie[2])})
