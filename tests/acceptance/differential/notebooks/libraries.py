"""numpy, pandas and torch values."""

from __future__ import annotations

from ..notebook import Differs, gpu, local, notebook, old_results

NOTEBOOKS = (
    notebook(
        "numpy-kinds",
        local("""
            import numpy as np
            ints, floats, flags = np.arange(6, dtype="i2").reshape(2, 3), np.array([1.5, np.nan]), np.array([True])
            text, objects, empty = np.array(["a", "bc"]), np.array([1, "x", None, [2]], object), np.empty((0, 3))
            scalar, zero_d, complex_ = np.float32(1.5), np.array(7), np.array([1j])
            times, spans = np.array(["2024-01-01", "NaT"], "M8[D]"), np.array([1, 2], "m8[s]")
            records = np.array([(1, 2.5, "a")], dtype=[("n", "i4"), ("x", "f8"), ("s", "U3")])
            masked = np.ma.array([1, 2, 3], mask=[0, 1, 0], fill_value=9)
            fortran, big = np.asfortranarray(np.arange(6.0).reshape(2, 3)), np.arange(3, dtype=">i4")
            frozen = np.arange(3)
            frozen.flags.writeable = False
        """),
        gpu("""
            ints += 1; floats[0] = 9; objects[3].append(3); records["n"] += 1; fortran *= 2; masked[0] = 5
            (ints, floats, text, objects, empty.shape, scalar, zero_d, complex_, times, spans, records, masked, big)
        """),
        local("ints, floats, objects, records, fortran.flags.f_contiguous, masked, big.dtype, frozen.flags.writeable"),
        gpu("try:\n    frozen[0] = 1\nexcept ValueError as error:\n    print(error)"),
        gpu("made = np.linspace(0, 1, 5)\nhalf = made.astype('f2')\nkind = made.dtype\ntype(half[0])"),
        local("made, half, kind, made.flags.writeable"),
        local("made[0] = 7"),
        gpu("made[0]"),
    ),
    notebook(
        "numpy-in-place-and-aliases",
        local("import numpy as np\na = np.zeros(4)\nb = a\nholder = {'array': a}"),
        gpu("a += 1\nb[0] = 5"),
        local("a, b is a, holder['array'] is a"),
        local("a[1] = 9"),
        gpu("holder['array'][1], b is a"),
        gpu("a = a * 2"),
        local("a, b, holder['array'] is b"),
        gpu("np.add(b, 1, out=b)"),
        local("b"),
        gpu("x, y = np.meshgrid([1, 2], [3, 4])\nx.shape = (4,)"),
        local("x, y"),
        differs=old_results(3, 7),
    ),
    notebook(
        "numpy-views",
        local("import numpy as np\nbase = np.zeros(3)\nview = base[1:]"),
        gpu("base += 1"),
        local("base, view"),
        differs=(
            Differs("/step 3/*", "array([1., 1.])", "array([0., 0.])", "views"),
            Differs("/after/*", "", "", "views"),
        ),
    ),
    notebook(
        "numpy-random",
        local("import numpy as np\nrng = np.random.default_rng(5)\nfirst = rng.integers(100)"),
        gpu("second = rng.integers(100)"),
        local("third = rng.integers(100)"),
        gpu("fourth = rng.integers(100)\nother = np.random.default_rng(6)"),
        local("first, second, third, fourth, other.random()"),
        gpu("np.random.seed(1)\nnp.random.rand()"),
        local("import random\ndice = random.Random(3)\ndice.random()"),
        gpu("dice.random()"),
        local("dice.random()"),
    ),
    notebook(
        "pandas-frames",
        local("""
            import numpy as np
            import pandas as pd
            df = pd.DataFrame({"a": [1, 2, 3], "b": ["x", None, "z"], "c": [1.5, np.nan, 2.5]})
            alias = df
        """),
        gpu("df['d'] = df['a'] * 2\ndf.loc[1, 'b'] = 'filled'\ndf"),
        local("df, alias is df"),
        local("limit = 2"),
        gpu("df.query('a >= @limit')"),
        gpu("df.eval('e = a + d', inplace=True)\ndf.columns.tolist()"),
        gpu("df = df.assign(f=1)\ndf.shape"),
        local("alias.shape, df is alias, df.dtypes"),
        gpu("df.groupby('b')['a'].sum()"),
        gpu("df.describe()"),
        gpu("df.drop(columns='f', inplace=True)\nseries = df['a']\nseries.name"),
        local("series, df.columns"),
        gpu("df.style.format(precision=1) and None"),
        differs=old_results(2, 3),
    ),
    notebook(
        "pandas-kinds",
        local("""
            import pandas as pd
            frame = pd.DataFrame({
                "cat": pd.Categorical(["a", "b", None], categories=["b", "a"], ordered=True),
                "tz": pd.to_datetime(["2024-01-01", None, "2024-06-01"]).tz_localize("Europe/Paris"),
                "nullable": pd.array([1, None, 3], dtype="Int64"),
                "text": pd.array(["x", None, "y"], dtype="string"),
                "flag": pd.array([True, None, False], dtype="boolean"),
                "sparse": pd.arrays.SparseArray([0, 0, 1]),
                "span": pd.to_timedelta([1, 2, 3], unit="h"),
            })
            pairs = pd.MultiIndex.from_product([["a", "b"], [1, 2]], names=["x", "y"])
            multi = pd.DataFrame({"v": range(4)}, index=pairs)
            del pairs
            period = pd.Series([1, 2], index=pd.period_range("2024-01", periods=2, freq="M"))
            interval = pd.cut(pd.Series([1, 5, 9]), [0, 5, 10])
            stamp, na, nat = pd.Timestamp("2024-01-01", tz="UTC"), pd.NA, pd.NaT
        """),
        gpu("frame.dtypes, multi.loc['a'], period.index.freqstr, interval.cat.ordered, stamp, nat is pd.NaT"),
        gpu("frame['new'] = frame['nullable'] + 1\nmulti.loc[('a', 1), 'v'] = 100\nperiod['2024-01'] = 9"),
        local("frame, multi, period, interval, frame.dtypes"),
        gpu(
            "wide = multi.unstack()\n"
            "ranged = pd.DataFrame({'r': [1]}, index=pd.date_range('2024', periods=1, freq='D'))"
        ),
        local("wide, ranged.index.freq, na is pd.NA"),
        gpu("frame.attrs['made'] = 'there'"),
        local("frame.attrs"),
        differs=old_results(4),
    ),
    notebook(
        "torch-tensors",
        local("""
            import torch
            weights = torch.arange(6, dtype=torch.float32).reshape(2, 3)
            view, alias = weights[0], weights
            leaf = torch.ones(2, requires_grad=True)
            half, whole = torch.tensor([1.5], dtype=torch.bfloat16), torch.tensor(5)
        """),
        gpu("weights += 1\nleaf.shape, half.dtype, whole.item(), alias is weights"),
        local("weights, view, alias is weights, leaf.requires_grad"),
        gpu("torch.manual_seed(0)\nlayer = torch.nn.Linear(3, 1)\nout = layer(weights).detach()"),
        local("layer.weight.shape, out.shape, layer(weights).detach().equal(out)"),
        gpu("device = torch.device('cpu')\nkind = torch.float16\ntransposed = weights.T"),
        local("device, kind, transposed.stride()"),
        gpu(
            "optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)\nlayer(weights).sum().backward()\noptimizer.step()"
        ),
        local("layer.bias.grad, optimizer.param_groups[0]['params'][0] is layer.weight"),
        differs=(
            *old_results(3),
            Differs("/step 9/*", "tensor([2.])", "None", "gradients"),
            Differs("/after/*9/1", "", "None", "gradients"),
        ),
    ),
)
