"""Random states that are saved with a model's weights."""

import keras


class SeededModel(keras.Model):
    """A Keras model that keeps its seed generators' states, which Keras leaves out.

    Without them a reloaded model with dropout or random layers goes another way.
    """

    def save_own_variables(self, store):
        super().save_own_variables(store)
        for i, state in enumerate(self.seed_states()):
            store[f"seed_state_{i}"] = state

    def load_own_variables(self, store):
        names = store.keys()  # A store has keys, but cannot be iterated over.
        own = {name: store[name] for name in names if "seed_state" not in name}
        super().load_own_variables(own)
        for i, state in enumerate(self.seed_states()):
            state.assign(store[f"seed_state_{i}"])

    def seed_states(self):
        return [
            variable
            for variable in self.non_trainable_variables
            if variable.path.endswith("seed_generator_state")
        ]
