"""Stop signals are counted, and nothing more is done about them."""

import os
import signal

import pytest

from django_river.stop_signals import StopSignals


@pytest.fixture
def signals():
    signals = StopSignals()
    with signals.handled():
        yield signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_wait(signals, number):
    os.kill(os.getpid(), number)

    assert signals.wait(10)
    assert signals.received == 1


def test_without_a_signal_the_wait_ends_in_time(signals):
    assert not signals.wait(0.01)
    assert signals.received == 0


def test_the_second_one_means_hurry(signals):
    os.kill(os.getpid(), signal.SIGTERM)
    assert not signals.is_hurried()

    os.kill(os.getpid(), signal.SIGINT)
    assert signals.is_hurried()


def test_a_child_takes_sigterm_once_and_sigint_for_hurry():
    signals = StopSignals(is_child=True)
    with signals.handled():
        for number in (signal.SIGTERM, signal.SIGTERM):
            os.kill(os.getpid(), number)
            assert signals.wait(10)
        assert signals.received == 1

        os.kill(os.getpid(), signal.SIGINT)
        assert signals.is_hurried()


def test_sending_is_like_a_signal(signals):
    signals.send()

    assert signals.wait(10)


def test_the_handlers_of_before_are_put_back():
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with StopSignals().handled():
        assert signal.getsignal(signal.SIGTERM) != before[0]

    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
