"""Variables that both sides read, change, rebind and delete."""

from __future__ import annotations

from ..notebook import Differs, gpu, local, notebook, old_results, stays

NOTEBOOKS = (
    notebook(
        "values-plain-round-trip",
        local("""
            n, x, z, text, flag, nothing, raw = 3, 1.5, 2j, "ü", True, None, b"\\x00"
            items, pair, table, unique, frozen = [1, [2]], (1, "a"), {"k": [1], 2: None}, {1, 2}, frozenset({3})
            big, dots, span, cut, array = 10**40, ..., range(1, 9, 2), slice(1, 2), bytearray(b"ab")
        """),
        gpu("""
            seen = [n, x, z, text, flag, nothing, raw, items, pair, table, unique, frozen, big, dots, span, cut, array]
            [type(each).__name__ for each in seen]
        """),
        local("seen[7] is items, seen[9] is table, seen"),
        gpu("seen[7] is items and seen[16] is array"),
    ),
    notebook(
        "values-special-numbers-and-text",
        local("nan, inf, zero, minus = float('nan'), float('-inf'), -0.0, -1"),
        gpu("numbers = [nan, inf, zero, minus]\ntexts = ['', '\\x00', '\\ud800', 'a' * 5000]\nnan2 = nan"),
        local("numbers, [len(t) for t in texts]"),
    ),
    notebook(
        "values-identity-of-immutables",
        local("number, text, pair = 10.5, 'a b', (1, 2.5)"),
        gpu("alias, same, other = number, text, pair"),
        local("alias == number, same == text, other == pair"),
        local("alias is number, same is text, other is pair"),
        differs=(
            Differs("/after/*4/*", "True", "False", "identity of immutables"),
            Differs("/step 4/*", "(True, True, True)", "(False, False, False)", "identity of immutables"),
        ),
    ),
    notebook(
        "values-of-the-standard-library",
        gpu("""
            import datetime, decimal, fractions, pathlib, uuid, collections, re, ipaddress, types, array, zoneinfo
            when = datetime.datetime(2024, 2, 29, 12, tzinfo=zoneinfo.ZoneInfo("Europe/Paris"))
            day, delta, money = datetime.date(2024, 1, 1), datetime.timedelta(hours=1), decimal.Decimal("1.10")
            third, path, ident = fractions.Fraction(1, 3), pathlib.Path("/a/b"), uuid.UUID(int=5)
            counter, queue = collections.Counter("aab"), collections.deque([1, 2], maxlen=3)
            ordered = collections.OrderedDict(b=1, a=2)
            default, pattern = collections.defaultdict(list, {"a": [1]}), re.compile("a+", re.I)
            space, packed, address = types.SimpleNamespace(a=[1]), array.array("d", [1.5]), ipaddress.ip_address("::1")
        """),
        local("default['new'].append(1)\nqueue.append(3)\nspace.a is space.a, counter.most_common(1), when.tzname()"),
        gpu("default, queue, space, counter, pattern.match('AA')[0]"),
    ),
    notebook(
        "change-in-place",
        local("items, table, unique, array = [1], {'a': 1}, {1}, bytearray(b'a')"),
        gpu("items.append(2); table['b'] = items; unique.add(2); array.extend(b'b')"),
        local("items, table, unique, array, table['b'] is items"),
        local("items.append(3); table['c'] = 3"),
        gpu("items, table"),
        gpu("items[:] = ['all', 'new']; table.clear(); array[0] = 0"),
        local("items, table, array"),
        gpu("items.sort(reverse=True)\nitems += ['more']\nitems *= 2"),
        local("items"),
        differs=old_results(3, 5, 7),
    ),
    notebook(
        "change-seen-through-old-references",
        local("inner = [1]\nouter = {'inner': inner, 'again': inner}\nalias = outer"),
        gpu("inner.append(2)"),
        local("outer, alias is outer, outer['again'] is inner"),
        gpu("outer['inner'].append(3); alias['new'] = True"),
        local("inner, outer"),
        local("inner.append(4)"),
        gpu("outer['again'], alias['inner'] is inner"),
        differs=old_results(3, 5),
    ),
    notebook(
        "aliases",
        local("a = [1]\nb = a\nc = (a, b)\nd = {'x': c}"),
        gpu("a.append(2)\n(a is b, c[0] is a, d['x'] is c)"),
        local("b, c, d, a is b is c[0] is d['x'][1]"),
        gpu("e = b\nf = [e, a]"),
        local("e is a, f[0] is f[1] is b"),
        gpu("b = list(b)\nb.append('own')"),
        local("a, b, a is b, c"),
        local("c[0].append('through c')"),
        gpu("a[-1], e is a, b is a"),
        differs=old_results(3),
    ),
    notebook(
        "aliases-made-in-functions",
        local("class Node:\n    def __init__(self, value):\n        self.value, self.next = value, None"),
        local("first, second = Node(1), Node(2)\nfirst.next, second.next = second, first"),
        gpu("first.next.value = 20\nthird = Node(3)\nsecond.next = third\nthird.next = first"),
        local("first.next is second, second.value, second.next is third, third.next is first"),
        local("third.value = [1]"),
        gpu("first.next.next.value.append(2)"),
        local("third.value"),
    ),
    notebook(
        "recursive-structures",
        local("loop = [1]\nloop.append(loop)\nring = {}\nring['self'] = ring\nt = ([],)\nt[0].append(t)"),
        gpu("loop.append(2); ring['n'] = loop\n(loop[1] is loop, ring['self'] is ring, t[0][0] is t)"),
        local("loop[1] is loop, ring['n'] is loop, t[0][0] is t, loop"),
    ),
    notebook(
        "rebinding",
        local("x = [1]\ny = x"),
        gpu("x = [2]"),
        local("x, y, x is y"),
        local("x = 'local again'"),
        gpu("x"),
        gpu("x = 5"),
        gpu("x = x + 1"),
        local("x"),
        local("x = [1]"),
        gpu("x = [1]\ny = x"),
        local("y.append(2)\nx"),
    ),
    notebook(
        "rebinding-to-the-same-value",
        local("x = [1]\nold = x"),
        gpu("x = [1]"),
        local("x is old"),
        gpu("old = old"),
        local("old, x"),
        local("x = x"),
        gpu("x, old, x is old"),
        differs=old_results(5),
    ),
    notebook(
        "deleting",
        local("a, b, c = 1, [2], [3]\nd = b"),
        gpu("del a"),
        local("a"),
        gpu("del b\nd"),
        local("'b' in globals(), d"),
        local("del c"),
        gpu("c"),
        gpu("d.append(c) if 'c' in globals() else 'c is gone'"),
        gpu("e = 1"),
        local("del e"),
        gpu("e"),
        local("e = 2"),
        gpu("e"),
        gpu("del nothing_of_that_name"),
        gpu("for a in range(2): pass\ndel a"),
        local("'a' in globals()"),
    ),
    notebook(
        "augmented-assignment",
        local("n, items, text = 1, [1], 'a'\nalias = items"),
        gpu("n += 1; items += [2]; text *= 3"),
        local("n, items, text, alias is items"),
        gpu("n -= 5\nitems[0] += 10\ntext += text"),
        local("n, alias, text"),
        gpu("def bump():\n    global n\n    n += 100\nbump()"),
        local("n\nbump()\nn"),
        gpu("bump(); n"),
        gpu("not_there += 1"),
        differs=old_results(3),
    ),
    notebook(
        "names-only-in-odd-places",
        local("a, b, c, d, e, f, g, h = 1, 2, 3, 4, 5, 6, 7, 8\nwidth = 6"),
        gpu("f'{a:>{width}}|{b!r}|{c=}'"),
        gpu("[d for _x in range(2)], {e: f for _x in 'z'}, sum(g for _x in 'ab')"),
        gpu("def outer():\n    def inner():\n        return h\n    return inner()\nouter()"),
        local("i, j, k, m, o = 1, 2, 3, 4, 5"),
        gpu("eval('i + 1')"),
        gpu("exec('jj = j + 1')\njj"),
        gpu("(lambda: k)()"),
        gpu("class C:\n    value = m\nC.value"),
        gpu("globals().get('o', 'not seen')"),
        local("jj"),
        local("default = 9"),
        gpu("def with_default(x=default, *, y: default = 1):\n    return x\nwith_default()"),
        local("decorate = staticmethod"),
        gpu("class D:\n    @decorate\n    def f():\n        return 1\nD.f()"),
        local("D.f()"),
    ),
    notebook(
        "names-shadowed-and-builtin",
        local("list_ = [1]\nmax = 5\nopen = 'shut'"),
        gpu("max, open"),
        gpu("sum = 3\nprint(sum)"),
        local("sum"),
        local("del sum, max, open\nsum([1]), max(1, 2)"),
        gpu("sum([1, 2]), max(1, 2)"),
        gpu("id = 5\nlen = 6"),
        local("id, len"),
        gpu("del id, len"),
        local("len('ab')"),
    ),
    notebook(
        "names-bound-by-statements",
        gpu("""
            import contextlib
            for loop in range(3): pass
            with contextlib.nullcontext([1]) as managed: pass
            if (walrus := 5) > 3: pass
            match {"k": [1, 2], "z": 3}:
                case {"k": [one, *rest], **others}: pass
            first, *middle, (deep, [deeper]) = 1, 2, 3, (4, [5])
            try:
                1 / 0
            except ZeroDivisionError as gone: pass
            annotated: int = 7
            only_annotated: str
            del contextlib
        """),
        local("loop, managed, walrus, one, rest, others, first, middle, deep, deeper, annotated"),
        local("'gone' in globals(), 'only_annotated' in globals()"),
        gpu("y: 'list[int]' = []\n__annotations__['y']"),
        gpu("[walrus := n for n in range(3)]"),
        local("walrus, y"),
        differs=(Differs("/after/annotations*", "annotated", "", "annotations"),),
    ),
    notebook(
        "names-with-unicode",
        local("größe, 名前 = 1, 'x'"),
        gpu("größe += 1\n名前 = 名前 + 'y'\nﬁ = 5"),
        local("größe, 名前, fi"),
    ),
    notebook(
        "names-with-underscores",
        local("_private, _x1 = [1], 5"),
        gpu("_private, _x1"),
        gpu("_private.append(2)"),
        gpu("_made_there = 3"),
        gpu("_made_there"),
        local("_private, '_made_there' in globals()"),
        gpu("for _ in range(3): pass"),
        gpu("_"),
        differs=(
            Differs("/step 6/*", "([1, 2], True)", "([1], False)", "underscore names"),
            Differs("/step 8/*", "2", "1", "underscore names"),
            Differs("/after/*", "", "", "underscore names"),
        ),
    ),
    notebook(
        "names-imported-by-star",
        gpu("from math import *"),
        gpu("floor(pi)"),
        local("floor(e), sqrt(4)"),
        local("from itertools import *"),
        gpu("list(chain([1], repeat(2, 2)))"),
    ),
    notebook(
        "names-through-globals",
        local("a = 1"),
        gpu("globals()['made'] = a\nvars()['also'] = 2"),
        local("made, also"),
        gpu("locals() is globals(), 'a' in globals(), __name__"),
        gpu("del globals()['made']"),
        local("'made' in globals()"),
        gpu("import sys\nsys.modules['__main__'].through_main = 3"),
        local("through_main"),
        local("import __main__\n__main__.also = 4"),
        gpu("also"),
    ),
    notebook(
        "conditional-binding",
        local("kept, flag = 'old', False"),
        gpu("if flag:\n    kept = 'new'\nkept"),
        gpu("while False:\n    never = 1\nelse:\n    always = 2"),
        local("kept, always, 'never' in globals()"),
        gpu("for x in []:\n    kept = x"),
        local("kept, 'x' in globals()"),
    ),
    notebook(
        "local-changes-between-cells",
        local("data = {'rows': [1, 2, 3]}\ntotal = 0"),
        gpu("total = sum(data['rows'])"),
        local("data['rows'].append(total)"),
        gpu("total = sum(data['rows'])"),
        local("data['rows'][0] = 100\ntotal += 1"),
        gpu("total + sum(data['rows'])"),
        local("data = {'rows': ()}"),
        gpu("sum(data['rows']), total"),
    ),
    notebook(
        "options-in-out-keep-and-no-vars",
        local("a, b, c = [1], [2], 3"),
        gpu("a.append(b[0])\nmade = c", "--in a,b,c"),
        local("a, made"),
        gpu("made.append(1) if isinstance(made, list) else made", "--out made"),
        gpu("kept = [1, 2]", "--keep kept"),
        gpu("kept.append(3)\nlen(kept)", "--keep kept"),
        gpu("came = list(kept)", "--out came --keep kept"),
        local("came"),
        gpu("d = 1\nd", "--quiet"),
        local("d"),
        differs=stays(kept="list"),
    ),
    notebook(
        "remote-only-values",
        gpu("""
            import threading
            lock, thread = threading.Lock(), threading.Thread(target=print)
            numbers = (n * n for n in range(3))
            file = open("/dev/null")
            stream = iter([1, 2])
        """),
        gpu("next(numbers), next(numbers)"),
        gpu("with lock:\n    file.read()"),
        gpu("thread.start(); thread.join()"),
        gpu("list(numbers), next(stream)"),
        gpu("file.close()\nfile.closed"),
        gpu("holder = {'lock': lock, 'data': [1]}"),
        gpu("holder['data'].append(2)\nholder['lock'] is lock, holder['data']"),
        differs=(
            *stays(thread="threading.Thread", numbers="generator", file="_io.TextIOWrapper"),
            Differs("/after/variables/holder/is/0/1", "_thread.lock", "remote _thread.lock", "stays remote"),
        ),
    ),
    notebook(
        "remote-values-used-later",
        gpu("import io\nlog = io.StringIO()\nlog.write('one ')"),
        gpu("log.write('two')\nlog.getvalue()"),
        gpu("alias = log\nalias is log"),
        gpu("text = alias.getvalue()"),
        local("text + '!'"),
    ),
    notebook(
        "big-values",
        gpu("big = list(range(300_000))\nsame = big", "--out big,same"),
        local("len(big), same is big"),
        local("big[0] = 'changed'"),
        gpu("big[0], len(same), same is big", "--out big,same"),
        gpu("same.append(1)", "--out big,same"),
        local("len(big)"),
    ),
    notebook(
        "big-values-stay",
        gpu("blob = bytes(3_000_000)\nsize = len(blob)"),
        gpu("blob[:2], len(blob) == size"),
        local("size"),
        differs=stays(blob="bytes"),
    ),
    notebook(
        "interrupted-keeps-what-was-assigned",
        local("progress = []"),
        gpu(
            """
            import sys, threading, time
            def when_asleep():
                while sys._current_frames()[threading.main_thread().ident].f_lineno != 7:
                    pass
                print("asleep", flush=True)
            threading.Thread(target=when_asleep).start()
            progress.append("begun"); half = [progress]; time.sleep(30)
            progress.append("never")
            """,
            interrupt_at="asleep",
        ),
        local("progress, half[0] is progress"),
        gpu("progress.append('goes on')\nlen(progress)"),
        differs=old_results(3),
    ),
)
