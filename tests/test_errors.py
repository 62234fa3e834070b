"""What an error says of its place, its value and the remedy."""

import copy

from trailward.errors import DataError, SettingsError


def test_the_fields_make_the_message() -> None:
    assert str(DataError(place="row 3", value="nan", remedy="drop it")) == "row 3 is nan; drop it"
    told = SettingsError(place="gaps", value="", remedy="choose 'cut' or 'keep'")
    assert str(told) == "gaps is ''; choose 'cut' or 'keep'"


def test_a_message_ends_with_the_remedy_and_has_it_once() -> None:
    assert str(DataError("there is nothing", remedy="add some")) == "there is nothing; add some"
    assert str(DataError("add some rows", remedy="add some")) == "add some rows"


def test_what_is_within_a_file_names_it_and_keeps_all_else() -> None:
    told = SettingsError(place="row 3", value=2, remedy="drop it").within("a.csv")
    assert type(told) is SettingsError
    assert (told.place, told.value, told.remedy) == ("a.csv: row 3", 2, "drop it")
    assert str(told) == "a.csv: row 3 is 2; drop it"


def test_it_comes_back_from_another_process() -> None:
    told = DataError(place="row 3", value=2, remedy="drop it")
    again = copy.copy(told)  # by what a pickle of it would hold
    assert (str(again), vars(again)) == (str(told), vars(told))
