"""The job's configuration: schema, what it is composed from, validation. Imports no Paddle."""

from sdbatch.config.composing import conf_dir, quoted, readable, register, table_dirs
from sdbatch.config.schema import Config
from sdbatch.config.validation import groups, list_prefix, unknown_key, validate

__all__ = [
    "Config",
    "conf_dir",
    "groups",
    "list_prefix",
    "quoted",
    "readable",
    "register",
    "table_dirs",
    "unknown_key",
    "validate",
]
