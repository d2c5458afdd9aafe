"""What models add to their columns."""

from django_river.models import Client, Job, Leader, Queue


class TestLastError:
    def test_is_the_newest_entry(self):
        assert Job(errors=[{"attempt": 1}, {"attempt": 2}]).last_error == {"attempt": 2}

    def test_is_none_without_errors(self):
        assert Job().last_error is None
        assert Job(errors=[]).last_error is None


def test_models_show_themselves_by_their_names():
    assert str(Job(id=7, kind="shop.send")) == "shop.send #7"
    assert [str(Queue(name="q")), str(Client(id="c")), str(Leader(leader_id="l"))] == ["q", "c", "l"]
