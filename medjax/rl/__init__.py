"""Learning from rewards: knows nothing of medicine.

Two libraries were weighed for this (2026-11) and not taken. rlax 0.1.9 has these targets and more,
each of the few lines that stand here, but brings distrax and with it a nightly build of TensorFlow
Probability. flashbax 0.1.3 (March 2025) has rings on the device with uniform and prioritised
draws; its windows of a trajectory would do, but not that a history ends where a level of the
search does, that one draw is of a whole team, or that a row lies with its team on one device.
"""
