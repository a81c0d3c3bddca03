"""The ground: ids, control messages, frames, replay, money, values and errors. Imports nothing of ours."""
