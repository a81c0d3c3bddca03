from perijove.magics.variables import RemoteValue


def test_value_travels_and_returns(notebook):
    notebook.local("x = 3\nl = [1,2]\nm = l\ndef f(a): return a + x")
    assert notebook.gpu("y = f(x)\nl.append(y)\ny*2") == 12
    assert notebook.ns["y"] == 6
    assert notebook.ns["l"] == [1, 2, 6]
    assert notebook.ns["l"] is notebook.ns["m"]
    notebook.local("x = 10")
    assert notebook.gpu("f(1)") == 11
    notebook.gpu("import numpy as np\nbig = np.ones(10**6)\ngen = (i for i in range(3))")
    assert isinstance(notebook.ns["big"], RemoteValue), notebook.ns["big"]
    print(notebook.ns["big"], notebook.ns["gen"], notebook.ns["np"])
    assert notebook.gpu("float(big.sum())") == 1e6
    assert notebook.ns["big"].get().sum() == 1e6
    assert notebook.gpu("eval('l' + '[0]')") == 1
