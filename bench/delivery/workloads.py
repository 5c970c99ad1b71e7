"""What is asked of each server: how many clients, and which messages at which pace."""
import dataclasses


@dataclasses.dataclass(frozen=True)
class Workload:
    """One of the questions. Without a pace and not saturated, nothing is sent."""
    name: str
    title: str
    clients: int
    every_ms: int = 0
    burst: int = 1
    saturate: bool = False
    # Of the clients: those that never read.
    stuck: int = 0
    # Before the window, in seconds.
    warm_up: float = 2

    def has_floor_beside(self):
        """Whether a floor is loaded at the same time: where there is a pace, and the load may open as many files again."""
        return bool(self.every_ms) and self.clients <= BESIDE_MAX

    def pace(self):
        """The pace as every program here is told it."""
        if self.saturate:
            return ["--saturate"]
        if self.every_ms:
            return ["--every-ms", str(self.every_ms), "--burst", str(self.burst)]
        return []

    def asked_per_second(self):
        """Deliveries a second that the pace asks for, to those who read."""
        return self.burst * 1000 / self.every_ms * (self.clients - self.stuck) if self.every_ms else None


# Of 20,000 files that a process often may open, a load with a floor beside its server needs two for each client.
BESIDE_MAX = 5_000
# Until the kernel's buffers of who reads nothing are full: 170 KB each, seen with ss.
WARM_UP_STUCK = 16

WORKLOADS = [
    Workload("single", "1,000 clients, 50 single messages a second", 1_000, every_ms=20),
    Workload("burst", "300 clients, 10 bursts of 50 a second", 300, every_ms=100, burst=50),
    Workload("saturate", "300 clients, saturated", 300, saturate=True),
    Workload("wide", "10,000 clients, one message a second", 10_000, every_ms=1_000),
    Workload("idle", "10,000 clients, no message", 10_000),
    Workload("all-read", "900 clients, 50 single messages a second", 900, every_ms=20, warm_up=WARM_UP_STUCK),
    Workload("stuck", "the same beside 100 that read nothing", 1_000, every_ms=20, stuck=100, warm_up=WARM_UP_STUCK),
]
