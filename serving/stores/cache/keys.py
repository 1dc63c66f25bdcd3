"""Builds the keys of cached values."""

from hashlib import blake2b


def cache_key(placement: str, batch_id: int | None, model_version: int | None, *request: str) -> str:
    """Return a key that names placement, batch and model, and holds the rest of the request only as a digest.

    The braces keep a value and its claim in one slot of a Redis cluster.
    """
    digest = blake2b(digest_size=16)
    for part in request:
        encoded = part.encode(errors="surrogatepass")
        digest.update(len(encoded).to_bytes(4, "big"))
        digest.update(encoded)
    return f"tailorbird:1:{placement}:{batch_id or 0}:{model_version or 0}:{{{digest.hexdigest()}}}"
