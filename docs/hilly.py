"""A task that is not in the paper: MountainCarContinuous, whose engine differs between clients."""
import gymnasium
class Held(gymnasium.Wrapper):
    """Holds every action for some steps, so that chance alone can climb a hill."""
    def __init__(self, env, steps):
        super().__init__(env); self._steps = steps
    def step(self, action):
        total = 0.0
        for _ in range(self._steps):
            seen, reward, terminated, truncated, info = self.env.step(action)
            total += float(reward)
            if terminated: break
        return seen, total, terminated, truncated, info
def hilly(i):
    env = gymnasium.make("MountainCarContinuous-v0").unwrapped
    env.power = 0.0015 * (1.0 + 0.05 * i)
    return gymnasium.wrappers.TimeLimit(Held(env, 10), 100)
