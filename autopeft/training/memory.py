"""How a lack of memory is recognised, without loading torch."""

import errno

# What allocators and libraries say in a RuntimeError, on CPU, CUDA, ROCm and MPS.
_PHRASES = (
    "out of memory",
    "not enough memory",
    "can't allocate memory",
    "cannot allocate memory",
    "cublas_status_alloc_failed",
    "could not create a primitive",  # oneDNN, when there is no room for its buffers or its code
    "can't start new thread",  # there is no room for its stack
)


def is_out_of_memory(error: BaseException) -> bool:
    """Recognise what is raised where memory is short, by type, name, number and text."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(phrase in text for phrase in _PHRASES)
