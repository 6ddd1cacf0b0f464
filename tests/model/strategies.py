"""Hypothesis strategies for what a player can do."""

from hypothesis import strategies as st

from gi_model.actions import GAMEPAD_BUTTONS, KEYS, MOUSE_BUTTONS, Gamepad, InputState
from gi_model.actions.space import STICK_STEPS

counts = st.integers(-16, 16)
notches = st.integers(-9, 9)
levels = st.integers(-STICK_STEPS, STICK_STEPS).map(lambda level: level / STICK_STEPS)
presses = st.integers(0, STICK_STEPS).map(lambda level: level / STICK_STEPS)

keyboards = st.builds(
    InputState,
    keys=st.frozensets(st.sampled_from(KEYS), max_size=8),
    buttons=st.frozensets(st.sampled_from(MOUSE_BUTTONS)),
    motion=st.tuples(counts, counts),
    wheel=st.tuples(notches, notches),
)
gamepads = st.builds(
    InputState,
    gamepad=st.builds(
        Gamepad,
        buttons=st.frozensets(st.sampled_from(GAMEPAD_BUTTONS), max_size=7),
        left_stick=st.tuples(levels, levels),
        right_stick=st.tuples(levels, levels),
        triggers=st.tuples(presses, presses),
    ),
)
states = keyboards | gamepads
commands = st.lists(st.floats(-(2.0**127), 2.0**127, width=32), max_size=4).map(tuple)  # of direct actuators
single = st.floats(-(2.0**127), 2.0**127, width=32)
commanded = st.builds(  # of one body: the same number of commands, or none in a tick
    InputState, keys=st.frozensets(st.sampled_from(KEYS), max_size=2), commands=st.just(()) | st.tuples(single, single)
)
