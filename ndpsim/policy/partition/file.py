"""Homes read from a file."""

import numpy as np

from ndpsim.errors import ConfigError, unknown
from ndpsim.policy.contract import Partition, PartitionView, Placement
from ndpsim.policy.files import rows
from ndpsim.policy.homes import whole_homes
from ndpsim.registry import register
from ndpsim.spec.model import InputPath


@register("partition", "file")
class FromFile(Partition):
    """Whole experts on the units that a CSV file names."""

    path: InputPath
    """CSV with the header ``layer,expert,unit``, one line per routed expert of every layer; `layer`
    is a decoder-layer index, `unit` a name such as ndp0."""

    def place(self, view: PartitionView) -> Placement:
        """One home per unit."""
        index = {unit: i for i, unit in enumerate(view.units)}
        home_of = np.full((view.n_moe_layers, view.n_experts), -1, dtype=np.int16)
        for where, layer, expert, unit in rows(self.path, view, "unit"):
            if unit not in index:
                raise unknown(where, "unit", unit, index)
            if home_of[layer, expert] >= 0:
                raise ConfigError(where, f"expert {expert} of this layer was placed before")
            home_of[layer, expert] = index[unit]
        missing = np.argwhere(home_of < 0)
        if len(missing):
            layer, expert = missing[0]
            raise ConfigError(
                str(self.path),
                f"places {home_of.size - len(missing)} of {home_of.size} experts; "
                f"expert {expert} of layer {view.moe_layers[layer]} is missing",
            )
        return Placement(whole_homes(view), home_of)
