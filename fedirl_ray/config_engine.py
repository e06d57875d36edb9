"""Settings of where a run runs and what it leaves behind, which change no result."""

from dataclasses import dataclass
from typing import Literal

from fedirl_ray.laws import require, require_positive


@dataclass(frozen=True, kw_only=True)
class EngineConfig:
    """Where a run runs; never changes a result (beyond rounding, on a GPU)."""

    backend: Literal["ray", "local"] = "ray"
    """ray: clients are Ray actors; local: the same in this process."""
    address: str | None = None
    """Ray cluster to join: auto or HOST:PORT; None starts one on this machine."""
    clients_per_actor: Literal["auto"] | int = "auto"
    """Clients an actor holds; auto: one, or blocks beyond 8 clients a CPU."""
    timeout: float = 600.0
    """Seconds an actor may take for an answer before it counts as hanging: it is replaced and
    asked once more. In a sweep: a trial for its next seed, before it is begun again (three times
    at most). The training of experts and agents has that long for every 50,000 steps."""
    fuse_workers: Literal["auto"] | int = "auto"
    """Actors that share a barycenter large enough to be quicker that way (5 million clients times
    support points); auto: one a CPU. Read by the ray engine."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where barycenters are computed; cuda: on a GPU, by torch (pip install 'fedirl-ray[torch]'),
    equal to about 1e-10 and not to the byte. The ray engine gives an actor a GPU of its own."""

    def __post_init__(self) -> None:
        """Check every limit."""
        require_positive("engine.timeout", self.timeout)
        for name, count in (
            ("engine.clients-per-actor", self.clients_per_actor),
            ("engine.fuse-workers", self.fuse_workers),
        ):
            law = "auto or an integer >= 1"
            require(count == "auto" or (isinstance(count, int) and count >= 1), name, law, count)


@dataclass(frozen=True, kw_only=True)
class RecordConfig:
    """What a run leaves behind."""

    figure: bool = True
    """Draw figure.png: on grids clients x rules, reward as colour, policy as arrows; where agents
    learn, their learning curves."""
    tensorboard: bool = False
    """Write TensorBoard's event files too, in tensorboard/: every rule's metric by round and last
    |theta|, of each seed and their mean. Needs pip install 'fedirl-ray[tensorboard]'."""
    demonstrations: str | None = None
    """Also keep the first seed's demonstrations, as problem.demonstrations-file reads them:
    FILE.npz; of control tasks a file or Minari data set a client, {client} for its number."""
