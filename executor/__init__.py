"""Runs best-effort tasks on one agent; carries corrections out and verifies them.

Threads, joined by queues (docs/design.md, "Concurrency"):

    main      forks, reaps, signals; owns every task's state     executor.py
    stream    the agent's events, put into main's inbox          agent_link.py
    sender    status updates and messages: the network may be    agent_link.py
              slow, and main must not wait for it
    node      the estimator's socket                             node_client.py
    tick      frame → pipeline → guard, once a second            tick.py
    roster    asks the agent who is on the node, while there     qos/sources/roster.py
              is no estimator and we sample by ourselves
    disk      outputs and sandboxes: a disk may be slow as well  tasks/disk_watch.py
    journal   corrections and records, synced                    journal.py
    guardian  starts another guardian when one was killed        tasks/standing_guardian.py
"""
