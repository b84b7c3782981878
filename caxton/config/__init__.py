"""Settings: one table, and the ``Config`` made from it.

A value comes from, in falling order: a flag, an environment variable ``CAXTON_<KEY>``, the config
file (``caxton.toml``), the default. ``load`` keeps the origin of each, which ``caxton config show``
prints. ``docs/reference/settings.md`` is made from ``SETTINGS``.
"""

from caxton.config.config import Config, default_shards
from caxton.config.loading import Loaded, load
from caxton.config.secret import Secret
from caxton.config.setting import Setting
from caxton.config.table import SETTINGS

__all__ = ["SETTINGS", "Config", "Loaded", "Secret", "Setting", "default_shards", "load"]
