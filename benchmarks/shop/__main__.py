"""Runs `benchmarks.shop.generator` as `python -m benchmarks.shop`."""

from benchmarks.shop.generator import main

if __name__ == "__main__":
    main()
