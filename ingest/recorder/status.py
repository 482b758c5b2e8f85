"""What a recorder reports while it records."""

from dataclasses import dataclass, field

ROOM = ".room"
"""File of the bundle that keeps disk space for what is written last: removed when no more events are written."""


@dataclass
class Status:
    """Bytes written, events recorded and events lost by CPU (None: on an unknown one), so far."""

    bytes: int = 0
    events: int = 0
    lost_by_cpu: dict[int | None, int] = field(default_factory=dict)
    fault: str = ""  # what ended the recording before its time: no space left on device

    @property
    def lost(self) -> int:
        """Events lost on all CPUs."""
        return sum(self.lost_by_cpu.values())

    def add_lost(self, cpu: int | None, events: int) -> None:
        """Count events as lost."""
        if events:
            self.lost_by_cpu[cpu] = self.lost_by_cpu.get(cpu, 0) + events
