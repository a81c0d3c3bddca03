"""Errors travel by their code and come back as themselves."""

from perijove.wire import errors


def all_errors(root=errors.PerijoveError):
    yield root
    for child in root.__subclasses__():
        yield from all_errors(child)


def test_every_error_has_a_code_of_its_own_and_comes_back_from_it():
    ours = [error for error in all_errors() if error.__module__.startswith("perijove.") and "code" in vars(error)]
    assert len({error.code for error in ours}) == len(ours)
    for error in ours:
        assert type(errors.from_code(error.code, "what happened")) is error


def test_an_error_without_a_code_of_its_own_travels_as_its_parent():
    class LocalDetail(errors.NotAuthorized):
        """Known to one program only."""

    assert type(errors.from_code(LocalDetail.code, "what happened")) is errors.NotAuthorized


def test_an_unknown_code_of_a_newer_version_is_kept_in_the_text():
    error = errors.from_code("from_the_future", "something new happened")
    assert str(error) == "something new happened [from_the_future]"


def test_the_tree_in_the_docstring_is_the_tree():
    for error in all_errors():
        if error.__module__ == errors.__name__:
            assert error.__name__ in (errors.__doc__ or "")
