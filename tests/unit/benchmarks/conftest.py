"""Makes ``benchmarks`` importable without the root on the path, where ``client`` and ``wire`` would be as well."""

import importlib.util
import sys
from pathlib import Path

if "benchmarks" not in sys.modules:
    folder = Path(__file__).parents[3] / "benchmarks"
    spec = importlib.util.spec_from_file_location(
        "benchmarks", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["benchmarks"] = module
    spec.loader.exec_module(module)
