"""Objects of Python that options name: `object:NAME-HASH` in a file, the object itself in this process.

They reach other processes with their jobs, packed by cloudpickle, so that functions and classes of a notebook arrive
too.
"""

import functools
import hashlib
import pickle
import types
from collections.abc import Iterable, Mapping
from typing import Any

from drkd.utils.errors import InputError

PREFIX = "object:"
"""How the name of an object begins where an option expects the name of data or of a network."""

LASTING = 16
"""How many objects stay known, so that what is done with a run afterwards finds them."""

_known: dict[str, Any] = {}


def find_object(name: str) -> Any:
    """The object that is known by a name; None if there is none."""
    return _known.get(name)


def known_objects(names: Iterable[str]) -> "Objects":
    """Those of some names that stand for objects in this process, to be sent elsewhere."""
    return Objects({name: _known[name] for name in names if name in _known})


def short_name(name: str) -> str:
    """An object's name without its hash, for people; other names as they are.

    Example:
        >>> short_name("object:Net-3feda40856fe"), short_name("cifar10")
        ('Net', 'cifar10')
    """
    return name.removeprefix(PREFIX).rpartition("-")[0] if name.startswith(PREFIX) else name


class Objects:
    """Objects by name, for this process and for others.

    Example:
        >>> objects = Objects({"object:three": 3})
        >>> pickle.loads(pickle.dumps(objects)).make_known()
        >>> find_object("object:three")
        3
    """

    def __init__(self, by_name: Mapping[str, Any] | None = None) -> None:
        self._by_name: dict[str, Any] | None = dict(by_name or {})
        self._packed = b""

    def __len__(self) -> int:
        return len(self._unpacked())

    def __getstate__(self) -> bytes:
        return self._packed or self.packed()

    def __setstate__(self, packed: bytes) -> None:
        self._by_name, self._packed = None, packed  # unpacked in the job, where an error is the job's

    def packed(self) -> bytes:
        """What another process can unpack.

        Raises:
            InputError: for what cannot be packed, such as open files.
        """
        from joblib import wrap_non_picklable_objects

        try:
            return pickle.dumps(wrap_non_picklable_objects(self._unpacked(), keep_wrapper=False))
        except Exception as reason:  # objects raise what they like
            raise InputError(
                f"these objects cannot be sent to other processes ({type(reason).__name__}: {reason})"
            ) from reason

    def _unpacked(self) -> dict[str, Any]:
        if self._by_name is None:
            self._by_name = dict(pickle.loads(self._packed))
        return self._by_name

    def make_known(self) -> None:
        """Let `find_object` find them in this process, and the newest others that were made known before."""
        for name, known in self._unpacked().items():
            _known.pop(name, None)
            _known[name] = known
        for oldest in list(_known)[: -max(LASTING, len(self))]:
            del _known[oldest]


def code_hash(function: Any) -> str:
    """SHA-256 of what a function does, as far as its own code and settings say it; of other objects, of their names.

    Example:
        >>> code_hash(lambda: 1) == code_hash(lambda: 1), code_hash(lambda: 1) == code_hash(lambda: 2)
        (True, False)
    """
    return hashlib.sha256(_code(function).encode()).hexdigest()


def _code(thing: Any) -> str:
    if isinstance(thing, functools.partial):
        return f"{_code(thing.func)} {[_code(each) for each in thing.args]} {_items(thing.keywords)}"
    thing = getattr(thing, "__func__", thing)
    if isinstance(thing, types.FunctionType):
        cells = [_code(cell.cell_contents) for cell in thing.__closure__ or () if _is_filled(cell)]
        defaults = [_code(each) for each in thing.__defaults__ or ()]
        return f"{_code(thing.__code__)} {defaults} {_items(thing.__kwdefaults__ or {})} {cells}"
    if isinstance(thing, types.CodeType):
        return f"{thing.co_code.hex()} {thing.co_names} {[_code(each) for each in thing.co_consts]}"
    if isinstance(thing, str | bytes | int | float | complex | bool | tuple | None):
        return repr(thing)
    named = thing if hasattr(thing, "__qualname__") else type(thing)
    return f"{named.__module__}.{named.__qualname__}"


def _items(settings: Mapping[str, Any]) -> str:
    return str({name: _code(settings[name]) for name in sorted(settings)})


def _is_filled(cell: types.CellType) -> bool:
    """Whether the variable of a closure has a value: that of a function's own name may come later."""
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False
