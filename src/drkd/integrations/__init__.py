"""drkd's methods in other people's training frameworks: a module each, thin, none imported unless asked for.

`transformers`, `lightning`, `timm` and `skorch` each need their framework (`pip install drkd[transformers]` and so on).
`common.py` has what they share.
"""

from drkd.integrations.common import Indexed

__all__ = ["Indexed"]
