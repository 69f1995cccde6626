"""The broker: answers the system calls that filters send to it, opens what rules grant, tells what it refused."""
