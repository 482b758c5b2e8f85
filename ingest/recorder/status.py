"""What a recorder reports while it records."""

from dataclasses import dataclass, field


@dataclass
class Status:
    """Bytes written, events recorded and events lost by CPU (None: on an unknown one), so far."""

    bytes: int = 0
    events: int = 0
    lost_by_cpu: dict[int | None, int] = field(default_factory=dict)

    @property
    def lost(self) -> int:
        """Events lost on all CPUs."""
        return sum(self.lost_by_cpu.values())

    def add_lost(self, cpu: int | None, events: int) -> None:
        """Count events as lost."""
        if events:
            self.lost_by_cpu[cpu] = self.lost_by_cpu.get(cpu, 0) + events
